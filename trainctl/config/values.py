"""Plain values of a config."""

from __future__ import annotations

from typing import Any


def is_same(one: Any, other: Any) -> bool:
    """Say whether two plain values are the same in all their types: 1, 1.0 and true are three values.

    >>> is_same([1, {"a": None}], [1, {"a": None}]), is_same([1], [1.0])
    (True, False)
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    return bool(one == other or (one != one and other != other))  # noqa: PLR0124  # nan is recorded as nan
