from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trainctl.config.controls import Key
from trainctl.config.relative import resolve, take_apart
from trainctl.errors import EditError

FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def change(op: str, by: object) -> dict[str, object]:
    return {"op": op, "by": by}


@given(FLOATS, st.sampled_from("*/+-"), FLOATS)
def test_float_changes_by_pythons_arithmetic_bit_for_bit(current: float, op: str, by: float) -> None:
    assume(op != "/" or by != 0)
    python = {"*": current * by, "+": current + by, "-": current - by}.get(op) if op != "/" else current / by
    assert repr(resolve("lr", change(op, repr(by)), current, Key("float"))) == repr(python)


@given(st.integers(), st.sampled_from("*/+-"), st.decimals(-1000, 1000, places=2))
def test_whole_number_stays_one_or_is_refused(current: int, op: str, by: Any) -> None:
    assume(op != "/" or by != 0)
    exact = {"*": current * Fraction(by), "+": current + Fraction(by), "-": current - Fraction(by)}
    result = exact[op] if op != "/" else current / Fraction(by)
    if result.denominator == 1:
        found = resolve("n", change(op, str(by)), current, Key("int"))
        assert (type(found), found) == (int, result)
    else:
        with pytest.raises(EditError, match="and the key takes a whole number"):
            resolve("n", change(op, str(by)), current, Key("int"))


@pytest.mark.parametrize(
    ("op", "by", "current", "key", "result"),
    [
        ("*", "0.5", 0.1, Key("float"), 0.05),
        ("*", 3, 0.1, Key("float"), 0.30000000000000004),
        ("/", " 1e1 ", 1.0, Key("float"), 0.1),
        ("+", "3", 10, Key("int"), 13),
        ("*", "1.1", 100, Key("int"), 110),
        ("-", 1, 10**400, Key("int"), 10**400 - 1),
        ("+", "1", 3, Key("any"), 4),
        ("*", "2", 1.5, Key("any", optional=True), 3.0),
        ("+", "1", 2, Key("float"), 3.0),
    ],
)
def test_relative_edit_comes_to_a_value(op: str, by: Any, current: Any, key: Key, result: Any) -> None:
    found = resolve("k", change(op, by), current, key)
    assert (type(found), found) == (type(result), result)


@pytest.mark.parametrize(
    ("op", "by", "current", "key", "reason"),
    [
        ("/", "0", 1.0, Key("float"), r"^k/=0: it cannot be divided by zero"),
        ("/", "0", 1, Key("int"), r"^k/=0: it cannot be divided by zero"),
        ("*", "0.5", 3, Key("int"), r"^k\*=0\.5: 3 \* 0\.5 is 1\.5, and the key takes a whole number \(int\)"),
        ("*", "x", 1.0, Key("float"), r"^k\*=x: 'x' is not a number"),
        ("*", "", 1.0, Key("float"), r"^k\*=: '' is not a number"),
        ("*", "nan", 1.0, Key("float"), r"'nan' is not a number"),
        ("+", "inf", 1.0, Key("float"), r"'inf' is not a number"),
        ("+", "1e99999", 1, Key("int"), r"the number has more than 400 digits"),
        ("*", "1e-99999", 1, Key("int"), r"the number has more than 400 digits"),
        ("*", "9" * 5000, 1, Key("int"), r"is not a number"),
        ("+", "1", True, Key("bool"), r"relative edits are for numbers, and the key holds bool"),
        ("+", "1", "x", Key("str"), r"relative edits are for numbers, and the key holds str"),
        ("+", "1", None, Key("float", optional=True), r"relative edits are for numbers, and the key holds null"),
        ("+", "1", [1], Key("any"), r"relative edits are for numbers, and the key holds list"),
        ("+", "1", 10**400, Key("float"), r"the result is too large"),
    ],
)
def test_relative_edit_that_comes_to_none_is_refused(op: str, by: Any, current: Any, key: Key, reason: str) -> None:
    with pytest.raises(EditError, match=reason):
        resolve("k", change(op, by), current, key)


def test_operator_is_the_last_character_unless_the_key_is_known_with_it() -> None:
    assert take_apart("a.b*") == ("a.b", "*")
    assert take_apart("a.b +") == ("a.b", "+")
    assert take_apart("a-b") is None
    assert take_apart("odd-", known=["odd-"]) is None
