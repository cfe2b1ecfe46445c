"""Plain values of a config: which are numbers or references, and how two of them differ."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from trainctl.config import yaml
from trainctl.config.keys import join, leaves, split

_OPENING = re.compile(r"(\\*)\$\{")
_ABSENT = object()
_MOST = 20


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_finite(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number that a float can hold, and neither NaN nor infinite.

    >>> is_finite(3), is_finite(True), is_finite(float("nan")), is_finite(10**400)
    (True, False, False, False)
    """
    return is_number(value) and abs(value) <= sys.float_info.max


def is_same(one: Any, other: Any) -> bool:
    """Whether two plain values are the same in all their types: 1, 1.0 and true are three values.

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


def literal(value: Any) -> Any:
    r"""Return a plain value as OmegaConf must be given it, so that a `${` in it is text and not an interpolation.

    >>> print(literal({"prompt": "${user}", "lr": 0.1}))
    {'prompt': '\\${user}', 'lr': 0.1}
    """
    if isinstance(value, dict):
        return {key: literal(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [literal(item) for item in value]
    return _OPENING.sub(r"\1\1\\${", value) if isinstance(value, str) else value


def has_interpolation(value: Any) -> bool:
    r"""Whether OmegaConf would find something to resolve in a value, at any depth.

    >>> has_interpolation(["${lr}"]), has_interpolation(r"\${lr}"), has_interpolation(r"\\${lr}")
    (True, False, True)
    """
    if isinstance(value, dict):
        return any(map(has_interpolation, value.values()))
    if isinstance(value, list):
        return any(map(has_interpolation, value))
    return isinstance(value, str) and any(len(found[1]) % 2 == 0 for found in _OPENING.finditer(value))


def differences(name: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield what differs between two plain values: key, old and new value of each; None for what is not there.

    >>> list(differences("a", [{"p": 1, "q": 2}], [{"p": 3, "q": 2}, 5]))
    [('a.0.p', 1, 3), ('a.1', None, 5)]
    """
    before, after = _inside(old), _inside(new)
    if before is None and after is None:
        if not is_same(old, new):
            yield name, old, new
        return
    for part in {**(before or {}), **(after or {})}:
        yield from differences(f"{name}.{join([part])}", (before or {}).get(part), (after or {}).get(part))


def _inside(value: Any) -> dict[Any, Any] | None:
    if isinstance(value, list) and value:
        return dict(enumerate(value))
    return value if isinstance(value, dict) and value else None


def differing_keys(
    recorded: Mapping[Any, Any], current: Mapping[Any, Any], *, ignore: Collection[str] = ()
) -> list[str]:
    """Return the keys whose values differ, sorted; `1`, `1.0` and `true` are three values.

    All below `trainctl` is passed over, and so are the keys in `ignore`.

    >>> differing_keys({"lr": 0.1, "n": 1}, {"lr": 0.2, "n": 1, "new": 0})
    ['lr', 'new']
    """
    one, other = leaves(recorded), leaves(current)
    return sorted(
        key
        for key in {**one, **other}
        if split(key)[0] != "trainctl"
        and key not in ignore
        and not is_same(one.get(key, _ABSENT), other.get(key, _ABSENT))
    )


def tell_drift(recorded: Mapping[Any, Any], current: Mapping[Any, Any], differing: Sequence[str]) -> str:
    """Say how a config differs from a recorded one in these keys, with both values of the first 20.

    >>> tell_drift({"lr": 0.1}, {"lr": 1e-4, "n": [1]}, ["lr", "n"])
    'lr: recorded 0.1, now 0.0001; n: recorded absent, now [1]'
    """
    one, other = leaves(recorded), leaves(current)
    told = [f"{key}: recorded {_show(one, key)}, now {_show(other, key)}" for key in differing[:_MOST]]
    more = [f"and {len(differing) - _MOST} more"] if len(differing) > _MOST else []
    return "; ".join([*told, *more])


def _show(values: Mapping[str, Any], key: str) -> str:
    text = yaml.inline(values[key]) if key in values else "absent"
    return text if len(text) <= 60 else text[:60] + "…"
