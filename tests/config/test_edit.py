from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainctl.config.controls import Key
from trainctl.config.edit import check_recorded, parse_edit, parse_edits
from trainctl.errors import EditError

KEYS = {
    "flag": Key("bool"), "n": Key("int", declared=True, min=1, max=64), "optim.lr": Key("float"), "name": Key("str"),
    "betas": Key("list"), "extra": Key("dict"), "any": Key("any", optional=True), "depth": Key("int", optional=True),
    "act": Key("str", choices=["RELU", "GELU"]), "size": Key("int", choices=[1, 2]),
    "model.depth": Key("int", locked="locked by trainctl.controls"), r"odd\.key": Key("int"), "blob": Key("bytes"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "raw", "value"),
    [
        ("flag", "true", True), ("flag", "False", False), ("flag", True, True),
        ("n", "16", 16), ("n", " +1_0 ", 10), ("n", 64, 64),
        ("optim.lr", "1e-4", 1e-4), ("optim.lr", "1", 1.0), ("optim.lr", ".5", 0.5), ("optim.lr", 2, 2.0),
        ("name", "1e-4", "1e-4"), ("name", "null", None), ("optim.lr", None, None),
        ("name", "'null'", "null"), ("name", "", ""), ("name", "a: [b", "a: [b"),
        ("betas", "[0.9, 1e-3]", [0.9, 1e-3]), ("betas", [1, {"a": None}], [1, {"a": None}]), ("betas", "[]", []),
        ("extra", "{a: {b: [1]}}", {"a": {"b": [1]}}), ("extra", {}, {}),
        ("any", "null", None), ("any", "1", 1), ("any", "2026-01-01", "2026-01-01"), ("any", [True], [True]),
        ("depth", "null", None), ("depth", None, None), ("depth", "3", 3),
        ("blob", "ab", b"ab"), ("blob", "!!binary AP8=", b"\0\xff"), ("blob", b"ab", b"ab"), ("betas", [b"x"], [b"x"]),
        ("act", "GELU", "GELU"), ("size", "2", 2), (r"odd\.key", 5, 5),
    ],
)  # fmt: skip
def test_edit_is_read_by_the_type_of_its_key(key: str, raw: Any, value: Any) -> None:
    parsed = parse_edit(key, raw, KEYS)
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("key", "raw", "sentence"),
    [
        ("flag", "1", "the key takes true or false"),
        ("flag", 1, r"the key takes true or false \(bool\), and this is an int"),
        ("flag", "yes", "the key takes true or false"),
        ("n", "3.0", "the key takes a whole number"),
        ("n", 3.0, r"the key takes a whole number \(int\), and this is a float"),
        ("n", True, "and this is a bool"),
        ("n", "٣", "the key takes a whole number"),
        ("n", "9" * 5000, "the key takes a whole number"),
        ("n", "0", "the minimum is 1"),
        ("n", 65, "the maximum is 64"),
        ("n", "null", "the key takes a whole number"),
        ("n", None, "the key takes a whole number and cannot be null"),
        ("optim.lr", "nan", "the key takes a finite number"),
        ("optim.lr", "-.inf", "the key takes a finite number"),
        ("optim.lr", float("nan"), "numbers must be finite; nan and inf are not allowed"),
        ("optim.lr", "1e999", "the number is too large"),
        ("optim.lr", 10**400, "a whole number may have 308 digits at most"),
        ("n", 10**308, "a whole number may have 308 digits at most"),
        ("optim.lr", "fast", r"optim\.lr=fast: the key takes a number \(float\)"),
        ("optim.lr", True, "and this is a bool"),
        ("name", 3, r"the key takes text \(str\), and this is an int"),
        ("name", "${oc.env:HOME}", r"name=\$\{oc\.env:HOME\}: interpolations .* are not accepted from outside"),
        ("name", "???", r"\?\?\? means a missing value"),
        ("name", "\udc80", "the text is not valid Unicode"),
        ("betas", "[a, {b: '${x}'}]", "interpolations"),
        ("betas", ["x${y}"], "interpolations"),
        ("betas", "[.nan]", "numbers must be finite"),
        ("betas", "[{null: 1}]", "a mapping cannot have null as a key"),
        ("betas", "0.9", "the key takes a list such as"),
        ("betas", "[1", "it is not YAML"),
        ("betas", "[" * 60_000, "it is nested more than 100 deep"),
        ("betas", "[&a [1], *a]", "it has a YAML alias"),
        ("betas", "[!!python/object/apply:os.system [ls]]", "it is not YAML"),
        ("betas", [{1, 2}], "a value of type set is not allowed"),
        ("blob", "!!binary a", "after !!binary the key takes base64"),
        ("blob", 3, r"the key takes bytes \(bytes\), and this is an int"),
        ("extra", "{'${k}': 1}", "interpolations"),
        ("extra", "[1]", "the key takes a mapping such as"),
        ("act", "relu", "allowed are RELU, GELU"),
        ("size", 3, "allowed are 1, 2"),
        (
            "model.depth",
            "3",
            r"model\.depth=3: the key is locked \(locked by trainctl\.controls\); nothing was changed",
        ),
        (
            "optim.rl",
            "3",
            r"there is no such key; did you mean optim\.lr\?; known keys are act, any, betas, blob, depth",
        ),
        ("optim", "3", r"there is no such key; did you mean optim\.lr\?"),
        ("name", "x" * (10 * 1024 * 1024), "the value of 10485760 characters is too long; at most 65536"),
        ("betas", ["x" * 40_000, "y" * 40_000], "the value is too long; at most 65536"),
        ("betas", [0] * 70_000, "the value is too long"),
    ],
)
def test_edit_that_does_not_fit_is_refused_in_one_sentence(key: str, raw: Any, sentence: str) -> None:
    with pytest.raises(EditError, match=sentence) as refused:
        parse_edit(key, raw, KEYS)
    text = str(refused.value)
    assert text.startswith(key)
    assert text.isprintable()
    assert len(text) < 600


def test_edit_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(EditError, match="too long"):
        parse_edit("betas", endless, KEYS)


def test_known_keys_are_listed_only_when_they_are_few() -> None:
    many = {f"key{number}": Key("int") for number in range(21)}
    with pytest.raises(EditError, match=r"did you mean key20") as refused:
        parse_edit("key-20", "1", many)
    assert "known keys" not in str(refused.value)


def test_edits_of_one_request_are_flattened() -> None:
    edits = {"optim": {"lr": "0.5"}, "extra": {"a": 1}, "odd.key": 1, "n": 2}
    assert parse_edits(edits, KEYS) == {"optim.lr": 0.5, "extra": {"a": 1}, r"odd\.key": 1, "n": 2}


def test_edits_are_refused_as_a_whole() -> None:
    with pytest.raises(EditError, match=r"^n=x: the key takes a whole number"):
        parse_edits({"optim.lr": "0.5", "n": "x"}, KEYS)
    with pytest.raises(EditError, match=r"^optim\.lr=2: the key is given twice in one request"):
        parse_edits({"optim.lr": "0.5", "optim": {"lr": "2"}}, KEYS)
    with pytest.raises(EditError, match="has no edits"):
        parse_edits({}, KEYS)


def test_recorded_edit_is_repeated_whatever_is_locked_now_but_not_against_its_type() -> None:
    assert check_recorded("model.depth", 3, KEYS) == 3
    assert check_recorded("n", 1000, KEYS) == 1000
    assert check_recorded("any", "1", KEYS) == "1"
    with pytest.raises(EditError, match=r"^optim\.lr=fast: the key takes a number \(float\), and this is text"):
        check_recorded("optim.lr", "fast", KEYS)
    with pytest.raises(EditError, match=r"^gone=1: there is no such key"):
        check_recorded("gone", 1, KEYS)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_float_given_as_text_arrives_bit_for_bit(value: float) -> None:
    assert parse_edit("optim.lr", repr(value), KEYS).hex() == value.hex()
