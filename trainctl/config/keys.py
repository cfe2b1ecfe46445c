"""Dotted keys: `optim.lr` is the entry `lr` of the entry `optim`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_SPECIAL = re.compile(r"([.\\])")
_PART = re.compile(r"(?:[^.\\]|\\.|\\$)*", re.DOTALL)


def split(key: str) -> tuple[str, ...]:
    r"""Take a dotted key apart; a dot or backslash after a backslash belongs to the part it stands in.

    >>> split("optim.lr"), split(r"model.resnet\.v2.depth")
    (('optim', 'lr'), ('model', 'resnet.v2', 'depth'))
    """
    if "\\" not in key:
        return tuple(key.split("."))
    parts, start = [], 0
    while True:
        match = _PART.match(key, start)
        assert match is not None  # the pattern matches the empty text
        parts.append(re.sub(r"\\(.)", r"\1", match[0], flags=re.DOTALL))
        if match.end() >= len(key):
            return tuple(parts)
        start = match.end() + 1


def join(parts: Iterable[object]) -> str:
    r"""Put a dotted key together, so that `split(join(parts)) == parts` for parts of text.

    >>> join(["model", "resnet.v2", "depth"])
    'model.resnet\\.v2.depth'
    """
    return ".".join(_escaped(str(part)) for part in parts)


def _escaped(part: str) -> str:
    return _SPECIAL.sub(r"\\\1", part) if "." in part or "\\" in part else part


def is_within(key: str, places: Iterable[str]) -> bool:
    """Say whether a dotted key is one of some others, or lies below one.

    >>> is_within("optim.lr", ["optim"]), is_within("optimizer", ["optim"])
    (True, False)
    """
    return any(key == place or key.startswith(f"{place}.") for place in places)


def leaves(container: Mapping[Any, Any]) -> dict[str, Any]:
    """Flatten nested mappings to dotted keys, in order; lists and empty mappings are leaves: edits replace them whole.

    >>> leaves({"optim": {"lr": 0.1, "betas": [0.9, 0.999]}, "extra": {}})
    {'optim.lr': 0.1, 'optim.betas': [0.9, 0.999], 'extra': {}}
    """
    return dict(_walk(container, ()))


def _walk(container: Mapping[Any, Any], above: tuple[object, ...]) -> Iterator[tuple[str, Any]]:
    for key, value in container.items():
        if isinstance(value, Mapping) and value:
            yield from _walk(value, (*above, key))
        else:
            yield join((*above, key)), value


def find(container: Mapping[Any, Any], part: str) -> Any:
    """Return the key of `container` whose text is `part` (a config may have keys that are numbers).

    Raises:
        KeyError: there is none.
    """
    if part in container:
        return part
    for key in container:
        if str(key) == part:
            return key
    raise KeyError(part)
