"""Which keys stand together in the form, and which of these sections are open at first. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from trainctl.config.keys import join, split

MAX_SECTIONS = 60
FIELDS = 40  # widgets that are built at once without being asked for: each costs the server some 20 ms
TEXTS_PER_FIELD = 10  # what is written as text costs so much less

TOP = "general"
OWN = "trainctl"

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Group:
    """Keys that stand in one section; `labels` are their names there, without what the title says."""

    title: str
    labels: dict[str, str]


def grouped(keys: Iterable[str]) -> list[Group]:
    """Group keys by what is above them, less deeply where that were too many groups; trainctl's settings come last.

    >>> [(group.title, list(group.labels.values())) for group in grouped(["a.b.c", "seed", "trainctl.track.run"])]
    [('general', ['seed']), ('a.b', ['c']), ('trainctl', ['track.run'])]
    """
    paths = {key: split(key) for key in keys}
    own = {key: path for key, path in paths.items() if len(path) > 1 and path[0] == OWN}
    others = {key: path for key, path in paths.items() if key not in own}
    depth = max((len(path) - 1 for path in others.values()), default=0)
    while len(found := _at_depth(others, depth)) > MAX_SECTIONS and depth:
        depth -= 1
    return [*found, *_at_depth(own, 1)]


def to_open(sections: Mapping[Name, tuple[int, int]]) -> set[Name]:
    """Return the sections that are open without being asked for, given how many fields and texts each has.

    In order, those that fit in whole. An only one is open whatever its size: a part of it is built.

    >>> sorted(to_open({"a": (17, 0), "b": (1000, 0), "c": (22, 5), "d": (0, 4)})), to_open({"all": (2000, 0)})
    (['a', 'c', 'd'], {'all'})
    """
    left, found = FIELDS * TEXTS_PER_FIELD, set()
    for name, (fields, texts) in sections.items():
        if 0 < (cost := fields * TEXTS_PER_FIELD + texts) <= left:
            left -= cost
            found.add(name)
    return set(sections) if len(sections) == 1 else found


def _at_depth(paths: Mapping[str, tuple[str, ...]], depth: int) -> list[Group]:
    found: dict[tuple[str, ...], dict[str, str]] = {(): {}}
    for key, path in paths.items():
        above = path[:-1][:depth]
        found.setdefault(above, {})[key] = ".".join(path[len(above) :])
    return [Group(join(above) or TOP, labels) for above, labels in found.items() if labels]
