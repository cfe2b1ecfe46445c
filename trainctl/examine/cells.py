"""The text of a table's cells: all digits for programs, four significant digits for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from trainctl.config import yaml
from trainctl.text import clean, number

_MOST_CONSTANTS = 40
_SHORT = (1e-12, 1e12)  # deviations between these are written without an exponent


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def exact(value: Any) -> str:
    """Write a number by its `repr`, text as it stands, a missing value as nothing, anything else as YAML."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if type(value) in (int, float):
        return repr(value)
    try:
        return yaml.inline(value)
    except Exception:  # noqa: BLE001  # whatever a parser has found: what YAML does not know is shown by its text
        return str(value)


def plain(value: Any) -> str:
    """Write any value exactly, on one line: the parameters that tell two rows apart."""
    return clean(exact(value))


def short(value: Any) -> str:
    """Write a float in four significant digits, anything else exactly, on one line."""
    return number(value) if isinstance(value, float) else plain(value)


def mean_text(mean: float | None, deviation: float | None, sign: str = "±") -> str:
    """Write mean and deviation in the digits that the deviation leaves meaningful.

    >>> mean_text(0.97123, 0.0042), mean_text(1.6, 0.0999999), mean_text(12.0, None)
    ('0.9712 ± 0.0042', '1.60 ± 0.10', '12')
    """
    if mean is None or deviation is None:
        return short(mean)
    if not _SHORT[0] <= deviation < _SHORT[1]:
        return f"{number(mean)} {sign} {deviation:.2g}"
    digits = max(0, 1 - int(f"{deviation:.1e}".partition("e")[2]))
    return f"{mean:.{digits}f} {sign} {deviation:.{digits}f}"


def constants_line(constants: Mapping[str, Any]) -> str:
    """Write the parameters that are the same in all runs on one line; empty when there are none."""
    pairs = [f"{clean(key)}={'null' if value is None else plain(value)}" for key, value in constants.items()]
    more = f", and {len(pairs) - _MOST_CONSTANTS} more" if len(pairs) > _MOST_CONSTANTS else ""
    return f"the same in all: {', '.join(pairs[:_MOST_CONSTANTS])}{more}" if pairs else ""
