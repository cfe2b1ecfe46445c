"""Dotted keys (`optim.lr` is the entry `lr` of the entry `optim`), and nested mappings by them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trainctl.errors import SourceError

_SPECIAL = re.compile(r"([.\\])")
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"-?[0-9]{1,17}\.[0-9]{1,17}")
_PART = re.compile(r"(?:[^.\\]|\\.|\\$)*", re.DOTALL)


def split(key: str) -> tuple[str, ...]:
    r"""Split a dotted key into its parts; a dot or backslash after a backslash belongs to a part.

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
    r"""Join parts to a dotted key, so that `split(join(parts)) == parts` for parts that are strings.

    >>> join(["model", "resnet.v2", "depth"])
    'model.resnet\\.v2.depth'
    """
    return ".".join(_escaped(str(part)) for part in parts)


def dotted(path: Iterable[Any]) -> str:
    """Return the dotted key of a path in a config; an enum as a key counts by its name."""
    return join(getattr(part, "name", part) for part in path)


def _escaped(part: str) -> str:
    return _SPECIAL.sub(r"\\\1", part) if "." in part or "\\" in part else part


def is_within(key: str, places: Iterable[str]) -> bool:
    """Whether a dotted key is one of `places` or below one.

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


def at(container: Any, key: str, default: Any = None) -> Any:
    """Return the value of a dotted key in nested plain mappings and lists.

    >>> at({"a": [{"b": 1}]}, "a.0.b"), at({"a": 1}, "a.b")
    (1, None)
    """
    for part in split(key):
        if isinstance(container, list) and part.isascii() and part.isdigit() and int(part) < len(container):
            container = container[int(part)]
        elif isinstance(container, Mapping):
            try:
                container = container[find(container, part)]
            except KeyError:
                return default
        else:
            return default
    return container


def name_in(container: Mapping[Any, Any], part: str) -> Any:
    """Return the key for a part of a dotted key: an existing one, else a new one of the same type as the others.

    >>> name_in({10: 0.1}, "10"), name_in({10: 0.1}, "20"), name_in({"a": 1}, "20"), name_in({}, "20")
    (10, 20, '20', '20')
    """
    try:
        return find(container, part)
    except KeyError:
        kinds = {type(key) for key in container}
    if kinds == {int} and _WHOLE.fullmatch(part):
        return int(part)
    if kinds == {float} and _DECIMAL.fullmatch(part):
        return float(part)
    return part == "True" if kinds == {bool} and part in ("True", "False") else part


def nested(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return mappings nested by the dots in the keys.

    >>> nested({"optim.lr": 0.1, "optim.betas": [0.9], "seed": 1}, "x.ini")
    {'optim': {'lr': 0.1, 'betas': [0.9]}, 'seed': 1}

    Raises:
        SourceError: a key stands for a value and for a mapping too, or has an empty part.
    """
    top: dict[str, Any] = {}
    made = {id(top)}  # mappings made here; one that is a value must not be filled
    for key, value in values.items():
        *above, last = key.split(".")
        if not all((*above, last)):
            raise SourceError(f"{source}: the key {key!r} has an empty part")
        place = top
        for part in above:
            if part not in place:
                place[part] = {}
                made.add(id(place[part]))
            place = place[part]
            if id(place) not in made:
                raise _both(source, key)
        if last in place:
            raise _both(source, key)
        place[last] = value
    return top


def _both(source: str, key: str) -> SourceError:
    return SourceError(f"{source}: {key} is a value, and has keys below it or above it that are values too")


class Units:
    """Maps keys to the units of the record (see `config/assign`).

    Args:
        base: the config at step 0, nested.
    """

    def __init__(self, base: Mapping[Any, Any]) -> None:
        self._base = base
        self.leaves = leaves(base)

    def of(self, key: str) -> tuple[str, tuple[str, ...]]:
        """Return the unit of a key and the rest of its path; a section is its own unit."""
        parts, below = split(key), self._base
        for number, part in enumerate(parts):
            try:
                value = below[find(below, part)]
            except KeyError:
                value = None
            if not isinstance(value, Mapping) or not value:
                return join(parts[: number + 1]), parts[number + 1 :]
            below = value
        return key, ()

    def is_section(self, key: str) -> bool:
        """Whether step 0 has entries below a key."""
        return key not in self.leaves and bool(self.section(key))

    def section(self, key: str) -> Mapping[Any, Any]:
        """Return the mapping that step 0 has at a key; an empty one if it is not a mapping."""
        below: Any = self._base
        for part in split(key):
            try:
                below = below[find(below, part)] if isinstance(below, Mapping) else {}
            except KeyError:
                return {}
        return below if isinstance(below, Mapping) else {}
