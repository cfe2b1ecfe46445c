"""How far one edit may move a number: at most by the factor `max_change` of its key."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from trainctl.config.controls import Key
from trainctl.errors import EditError

_TOLERANCE = Fraction(1, 10**9)  # 0.7 to 0.07 is a factor of ten, whatever binary fractions say


def check_jump(key: str, old: Any, new: Any, spec: Key) -> None:
    """Refuse a change by more than the key's `max_change`, up or down; what is no number passes.

    A change from or to 0, or of the sign, has no factor and counts as too large.

    Raises:
        EditError: it is too large.

    >>> check_jump("lr", 0.1, 0.01, Key("float", max_change=10))
    """
    if spec.max_change is None or old == new or not (_is_number(old) and _is_number(new)):
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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(factor: Fraction) -> str:
    return f"{float(factor):.3g}" if factor < 10**300 else "more than 1e300"
