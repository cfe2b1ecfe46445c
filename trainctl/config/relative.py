"""Relative edits (`optim.lr*=0.5`), recorded as their result, and the largest change that one edit may make."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from trainctl.config.controls import Key
from trainctl.config.values import is_number
from trainctl.errors import EditError

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "*": operator.mul, "/": operator.truediv, "+": operator.add, "-": operator.sub,
}  # fmt: skip
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:_[0-9]+)*\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,5})?")
_INT = re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*")
_MOST_DIGITS = 400  # of any finite float, and of what may be asked of a whole number


def take_apart(text: str, known: Iterable[str] = ()) -> tuple[str, str] | None:
    """Split the left side of `key*=…` into key and operator; None if it is a plain key, or a known key.

    >>> take_apart("optim.lr*"), take_apart("optim.lr"), take_apart("odd-", known=["odd-"])
    (('optim.lr', '*'), None, None)
    """
    if text[-1:] not in _OPERATORS or text in known:
        return None
    return text[:-1].strip(), text[-1]


def resolve(key: str, change: Mapping[str, Any], current: Any, spec: Key) -> int | float:
    """Return the result of a relative edit.

    Floats use Python's arithmetic. Whole numbers stay whole: the exact decimal result must be a whole number.

    Args:
        key: the dotted key, for the error.
        change: `op`, one of `* / + -`, and `by`, a number or its text.
        current: the value that the key has now.
        spec: of the key; for an `any` key the type of the current value counts.

    Raises:
        EditError: the value or `by` is not a number, a division by zero, a whole number that would not stay one.

    >>> resolve("lr", {"op": "*", "by": "0.5"}, 0.3, Key("float"))
    0.15
    >>> resolve("n", {"op": "*", "by": "1.1"}, 100, Key("int"))
    110
    """
    op, text = str(change["op"]), str(change["by"]).strip()
    asked = f"{key}{op}={text[:60]}"
    kind = spec.type if spec.type in ("int", "float") else type(current).__name__
    if kind not in ("int", "float") or isinstance(current, bool) or not isinstance(current, int | float):
        raise EditError(f"{asked}: relative edits are for numbers, and the key holds {_named(current, spec)}")
    if not _NUMBER.fullmatch(text) or len(text) > _MOST_DIGITS:
        raise EditError(f"{asked}: {text[:60]!r} is not a number")
    try:
        return _whole(asked, op, text, current) if kind == "int" else _OPERATORS[op](float(current), _read(text))
    except ZeroDivisionError as error:
        raise EditError(f"{asked}: it cannot be divided by zero") from error
    except OverflowError as error:
        raise EditError(f"{asked}: the result is too large; the key takes a finite number") from error


def _whole(asked: str, op: str, text: str, current: float) -> int:
    by = Decimal(text)
    if by and abs(by.adjusted()) > _MOST_DIGITS:
        raise EditError(f"{asked}: the number has more than {_MOST_DIGITS} digits")
    result = Fraction(_OPERATORS[op](Fraction(current), Fraction(by)))
    if result.denominator != 1:
        raise EditError(
            f"{asked}: {current} {op} {text} is {float(result)!r}, and the key takes a whole number (int); "
            "nothing was changed"
        )
    return result.numerator


def _read(text: str) -> int | float:
    return int(text) if _INT.fullmatch(text) else float(text)


def _named(value: Any, spec: Key) -> str:
    return "null" if value is None else spec.type if spec.type != "any" else type(value).__name__


_TOLERANCE = Fraction(1, 10**9)  # so that 0.7 to 0.07 is a factor of ten despite binary fractions


def check_jump(key: str, old: Any, new: Any, spec: Key) -> None:
    """Refuse a change by a factor of more than the key's `max_change`, up or down; other types are not checked.

    A change from or to 0, or of the sign, has no factor and counts as too large.

    Raises:
        EditError: it is too large.

    >>> check_jump("lr", 0.1, 0.01, Key("float", max_change=10))
    """
    if spec.max_change is None or old == new or not (is_number(old) and is_number(new)):
        return
    before, after = Fraction(old), Fraction(new)
    if before * after <= 0:
        wrong = f"a change from {old!r} to {new!r} has no factor, and"
    else:
        factor = max(after / before, before / after)
        if factor <= Fraction(spec.max_change) * (1 + _TOLERANCE):
            return
        wrong = f"from {old!r} that is a factor of {_short(factor)}, and"
    raise EditError(
        f"{key}={new!r}: {wrong} one edit may change the key by a factor of {spec.max_change:g} at most (max_change); "
        "ask again with force if it is meant"
    )


def _short(factor: Fraction) -> str:
    return f"{float(factor):.3g}" if factor < 10**300 else "more than 1e300"
