"""The identity of a job's config: equal for two jobs that are the same."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any

from omegaconf import Container, DictConfig, Node, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainctl.config import keys
from trainctl.config._omegaconf import (
    MISSING,
    Leaf,
    entries,
    is_missing,
    replace,
    resolved,
    set_parent,
    text_of,
    walk,
)
from trainctl.config.settings_node import NODE, kept_node

_NOTHING: Mapping[str, str] = {}
ENVIRONMENT = ("hydra", "job", "env_set")

# Interpolations whose value tells when or where a job runs, not what it computes.
OF_THE_MOMENT = re.compile(r"\$\{\s*((now|hydra)\s*[:.]|trainctl)")

# Of trainctl's own settings, only these change what a job computes.
OWN_KEYS_THAT_COUNT = ("trainctl.seed", "trainctl.replay", "trainctl.controls", "trainctl.editable")


def identity(config: DictConfig, exclude: Sequence[str] = (), drawn: Mapping[str, str] = _NOTHING) -> str:
    """Return a hash of the resolved task config: equal for equal values, however they were given.

    Left out are the `hydra` node, keys that match a pattern of `exclude` (`data.path`, `log.*`; a pattern covers all
    below it), and those of trainctl's own settings that do not change the result. A reference to an excluded key counts
    as if that key always had the same value. An interpolation of the moment (`now:`, `hydra:`), one that draws its
    value
    (`drawn` has its text, by dotted key), and one that cannot be resolved before the run count by their text, wherever
    they are referred to.

    Returns:
        16 hexadecimal digits; an empty text when nothing is left to tell jobs apart: such a job is never taken for
        another.

    >>> one, same = OmegaConf.create({"x": 1, "y": "${x}"}), OmegaConf.create({"y": 1, "x": 1, "hydra": {}})
    >>> identity(one) == identity(same), identity(one) == identity(OmegaConf.create({"x": 1.0, "y": 1}))
    (True, False)
    """
    lines = sorted(
        _line(path, value)
        for path, value in _leaves_with_settings(config, exclude, drawn)
        if counts(keys.dotted(path), exclude)
    )
    return _digest(lines) if lines else ""


def _leaves_with_settings(
    config: DictConfig, exclude: Sequence[str], drawn: Mapping[str, str]
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield the leaves of a task's config, including its settings as if they were part of it."""
    kept, own = kept_node(config), timeless(config, exclude, drawn)
    for path, value in _leaves(own, (), ()):
        if kept is None or path[0] != NODE:
            yield path, value
    if kept is not None:
        settings: Any = OmegaConf.create(OmegaConf.to_container(kept, resolve=False))
        _to_texts(settings, drawn, (NODE,))
        set_parent(settings, own)  # its references resolve there
        yield from _leaves(settings, (NODE,), ())


def environment_identity(config: DictConfig, exclude: Sequence[str] = (), drawn: Mapping[str, str] = _NOTHING) -> str:
    """Return a hash of the variables in `hydra.job.env_set`, as `identity` does for the task config; empty for nothing.

    A pattern leaves a variable out by its key: `hydra.job.env_set.WANDB_*`.
    """
    chosen = OmegaConf.select(config, keys.join(ENVIRONMENT))
    if not chosen:
        return ""
    own: Any = OmegaConf.create(OmegaConf.to_container(chosen, resolve=False))
    _to_texts(own, drawn, ENVIRONMENT)
    set_parent(own, timeless(config, exclude, drawn))  # its references resolve there
    lines = sorted(
        _line(path, value)
        for path, value in _leaves(own, ("env_set",), ())
        if counts(f"hydra.job.env_set.{path[1]}", exclude)
    )
    return _digest(lines) if lines else ""


def combined(*parts: str) -> str:
    """Combine several identities; equal exactly when all parts are.

    >>> combined("a", "b") == combined("ab", "")
    False
    """
    return _digest([json.dumps(parts)])


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _line(path: tuple[Any, ...], value: Any) -> str:
    return json.dumps([[_exact(part) for part in path], value], sort_keys=True)


def counts(key: str, exclude: Sequence[str]) -> bool:
    """Whether the value of a dotted key is part of a job's identity."""
    top = key.partition(".")[0]
    if top == NODE and not keys.is_within(key, OWN_KEYS_THAT_COUNT):
        return False
    return not _is_excluded(key, exclude)


def _is_excluded(key: str, exclude: Sequence[str]) -> bool:
    return any(fnmatchcase(key, pattern) or fnmatchcase(key, pattern + ".*") for pattern in exclude)


def _exact(part: Any) -> Any:
    """Return a key as JSON in which `1`, `"1"` and a list index differ."""
    if isinstance(part, _Index):
        return int(part)
    return part if isinstance(part, str) else _tagged(part)


def _tagged(value: Any) -> list[str]:
    return [type(value).__name__, value.name if isinstance(value, Enum) else repr(value)]


class _Index(int):
    """A place in a list."""


def timeless(config: DictConfig, exclude: Sequence[str] = (), drawn: Mapping[str, str] = _NOTHING) -> DictConfig:
    """Return the config without its `hydra` node, and with texts for values of the moment, drawn and excluded ones.

    A config without interpolations is returned as it is if nothing is excluded: nothing could refer to these values.
    """
    if not drawn and not exclude and next(_interpolations(config, skip=("hydra",)), None) is None:
        return config
    own: DictConfig = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])  # type: ignore[misc]
    _to_texts(own, drawn)
    if exclude:
        _blank(own, (), exclude)
    return own


def _blank(container: Container, above: tuple[Any, ...], exclude: Sequence[str]) -> None:
    """Set all excluded values to the same value, so that references to them do not make jobs differ."""
    for key, node in list(entries(container)):
        path = (*above, key)
        if _is_excluded(keys.dotted(path), exclude):
            replace(container, key, "(excluded)")
        elif isinstance(node, Container):
            _blank(node, path, exclude)


def _to_texts(own: DictConfig, drawn: Mapping[str, str], above: tuple[str, ...] = ()) -> None:
    """Replace drawn values and interpolations of the moment by their texts."""
    for leaf in list(walk(own, above=above)) if drawn else ():
        if (text := drawn.get(keys.dotted(leaf.path))) is not None:
            replace(leaf.container, leaf.path[-1], _as_text(text))
    for leaf, text in list(_interpolations(own)):
        if OF_THE_MOMENT.search(text):
            replace(leaf.container, leaf.path[-1], _as_text(text))


def _as_text(interpolation: str) -> str:
    return interpolation.replace("${", "{")


def _interpolations(config: DictConfig, skip: Sequence[str] = ()) -> Iterator[tuple[Leaf, str]]:
    """Yield every interpolation and its text."""
    for leaf in walk(config, skip=skip):
        text = text_of(leaf.node)
        if text is not None:
            yield leaf, text


def _leaves(
    container: Container, above: tuple[Any, ...], trail: tuple[Any, ...]
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield path and JSON-able value of every leaf outside the `hydra` node; an empty container and None are leaves.

    `trail` holds the containers above: one that refers to its own container would never end, so it counts by its text.
    """
    trail = (*trail, container)
    for key, node in entries(container):
        if key == "hydra" and not above:
            continue
        path = (*above, key if isinstance(container, DictConfig) else _Index(key))
        value = _value(container, key, node)
        if not OmegaConf.is_config(value):
            yield path, value
        elif any(value is each for each in trail):
            yield path, text_of(node)
        elif len(value) == 0:
            yield path, {} if isinstance(value, DictConfig) else []
        else:
            yield from _leaves(value, path, trail)


def _value(container: Container, key: Any, node: Node) -> Any:
    if is_missing(node):
        return MISSING
    try:
        value = resolved(container, key, node)
    except OmegaConfBaseException:
        return text_of(node)
    return value if OmegaConf.is_config(value) else _plain(value)


def _plain(value: Any) -> Any:
    return value if value is None or type(value) in (bool, int, float, str) else _tagged(value)
