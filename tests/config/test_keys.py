from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainctl.config.keys import find, join, leaves, split


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
