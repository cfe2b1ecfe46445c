"""Plain values of a config: how two of them differ, and which texts OmegaConf would take for a reference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from trainctl.config.keys import join


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


_OPENING = re.compile(r"(\\*)\$\{")


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
