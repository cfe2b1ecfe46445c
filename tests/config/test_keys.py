from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainctl.config.keys import Units, at, find, join, leaves, name_in, nested, split
from trainctl.errors import SourceError


@given(st.lists(st.text(alphabet="ab.\\- \n", max_size=5), min_size=1, max_size=4))
def test_key_joined_and_split_is_the_same_parts(parts: list[str]) -> None:
    assert split(join(parts)) == tuple(parts)


def test_key_with_a_dot_in_a_part_escapes_it() -> None:
    assert join(["model", "v1.5"]) == r"model.v1\.5"


def test_leaves_keep_lists_and_empty_mappings_whole() -> None:
    assert leaves({"a": {"b": [{"c": 1}], "d": {}}, 3: {"e": None}}) == {"a.b": [{"c": 1}], "a.d": {}, "3.e": None}


def test_find_takes_a_number_for_its_text() -> None:
    assert find({7: "x"}, "7") == 7
    with pytest.raises(KeyError, match="8"):
        find({7: "x"}, "8")


def test_value_of_a_key_is_found_in_mappings_and_lists() -> None:
    nested_values = {"a": [{7: "x"}], "b": 1}
    assert [at(nested_values, key) for key in ("a.0.7", "a.1.7", "a.x", "b.c", "a.0.8")] == [
        "x",
        None,
        None,
        None,
        None,
    ]
    assert at(nested_values, "c", "none") == "none"


def test_new_key_is_of_the_type_of_the_others() -> None:
    assert [name_in({1.5: 0}, text) for text in ("1.5", "2.5", "x", "1e3")] == [1.5, 2.5, "x", "1e3"]
    assert [name_in({True: 0}, text) for text in ("True", "False", "x")] == [True, False, "x"]
    assert [name_in({1: 0}, text) for text in ("02", "x", "-3")] == ["02", "x", -3]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"a": 1, "a.b": 2}, r"^x.ini: a.b is a value, and has keys below it"),
        ({"a.b": 2, "a": 1}, r"^x.ini: a is a value, and has keys below it"),
        ({"a..b": 2}, r"^x.ini: the key 'a\.\.b' has an empty part$"),
    ],
)
def test_keys_that_cannot_be_nested_are_refused(values: dict[str, int], sentence: str) -> None:
    assert nested({"a.b": 1, "a.c.d": 2, "e": 3}, "x.ini") == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    with pytest.raises(SourceError, match=sentence):
        nested(values, "x.ini")


def test_unit_of_a_key_is_the_leaf_or_the_topmost_new_entry_that_it_lies_in() -> None:
    units = Units({"optim": {"betas": [0.9, {"x": 1}], "lr": 0.1}, "extra": {}, 7: {"y": 1}})
    assert units.of("optim.betas.1.x") == ("optim.betas", ("1", "x"))
    assert units.of("optim.new.deep") == ("optim.new", ("deep",))
    assert units.of("extra.a.b") == ("extra", ("a", "b"))
    assert units.of("other.a") == ("other", ("a",))
    assert units.of("optim") == ("optim", ())
    assert [units.is_section(key) for key in ("optim", "7", "extra", "optim.lr", "other", "other.x")] == [
        True, True, False, False, False, False
    ]  # fmt: skip
    assert (units.section("7"), units.section("optim.lr.x"), units.section("optim.lr")) == ({"y": 1}, {}, {})
