"""Nested mappings from dotted keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainctl.errors import SourceError


def nested(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return mappings nested by the dots in the keys.

    >>> nested({"optim.lr": 0.1, "optim.betas": [0.9], "seed": 1}, "x.ini")
    {'optim': {'lr': 0.1, 'betas': [0.9]}, 'seed': 1}

    Raises:
        SourceError: a key stands for a value and for a mapping too, or has an empty part.
    """
    top: dict[str, Any] = {}
    made = {id(top)}  # mappings that are ours to fill; one that is a value is not
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
