"""Values that are data: whatever stands in them is text."""

from __future__ import annotations

import re
from typing import Any

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
    r"""Say whether OmegaConf would find something to resolve in a value, at any depth.

    >>> has_interpolation(["${lr}"]), has_interpolation(r"\${lr}"), has_interpolation(r"\\${lr}")
    (True, False, True)
    """
    if isinstance(value, dict):
        return any(map(has_interpolation, value.values()))
    if isinstance(value, list):
        return any(map(has_interpolation, value))
    return isinstance(value, str) and any(len(found[1]) % 2 == 0 for found in _OPENING.finditer(value))
