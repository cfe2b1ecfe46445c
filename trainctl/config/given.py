"""Values given on the command line, which win over every other change of a config, and missing values (`???`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import Container, DictConfig, OmegaConf

from trainctl.config._omegaconf import (
    child,
    is_missing,
    is_none,
    key_named,
    mapping_at,
    raw,
    text_of,
    unlocked,
    walk,
)
from trainctl.config.keys import dotted, split
from trainctl.config.overrides import parse_overrides
from trainctl.config.settings_node import NODE
from trainctl.errors import MissingError


def restore_given(
    adapted: DictConfig, given: DictConfig, overrides: Sequence[str], groups: Collection[object] = ()
) -> None:
    """Restore in `adapted` the values that command-line overrides have set in `given`; `groups` are config groups."""
    for override in parse_overrides(overrides):
        key = override.key_or_group
        if split(key)[0] == NODE:
            continue  # a setting of the run: no pair changes it
        if "/" in key or override.package is not None or is_choice(override, given, groups):
            continue
        if override.is_delete():
            _delete(adapted, key)
            continue
        for leaf in keys_given(override):
            with unlocked(adapted):
                OmegaConf.update(adapted, leaf, _raw(given, leaf), merge=False, force_add=True)


def restore_leaves(adapted: DictConfig, given: DictConfig, leaves: Iterable[str]) -> None:
    """Restore in `adapted` the values of some dotted keys of `given`, where the keys still exist."""
    for leaf in leaves:
        *above, last = split(leaf)
        source, target = mapping_at(given, above), mapping_at(adapted, above)
        if source is not None and target is not None:
            key = key_named(source, last)
            with unlocked(target):
                target[key] = _raw_child(source, key)


def keys_given(override: Override) -> list[str]:
    """Return the keys that an override sets: a mapping is merged into what is there."""
    return _leaves(override.key_or_group, override.value())


def is_choice(override: Override, config: DictConfig, groups: Collection[object] = ()) -> bool:
    """Whether an override chose an option of a group: `task=digits` where `task` is one, or is a mapping."""
    value = override.value()
    if override.key_or_group in groups and not isinstance(value, dict):
        return True
    return isinstance(value, str) and "${" not in value and isinstance(_raw(config, override.key_or_group), DictConfig)


def _raw(config: DictConfig, key: str) -> Any:
    """Return the value at a key, an interpolation as its text; None if there is none."""
    above, _, last = key.rpartition(".")
    parent = OmegaConf.select(config, above) if above else config
    return _raw_child(parent, last) if isinstance(parent, DictConfig) else None  # no override sets a list's items


def _raw_child(parent: DictConfig, key: Any) -> Any:
    node = child(parent, key)
    if node is None or is_none(node):
        return None
    return node if isinstance(node, Container) and text_of(node) is None else raw(node)


def _leaves(key: str, value: Any) -> list[str]:
    """List the keys that a value of the command line sets: a mapping is merged into what is there."""
    if isinstance(value, dict) and value:
        return [leaf for name, item in value.items() for leaf in _leaves(f"{key}.{name}", item)]
    return [key]


def _delete(config: DictConfig, key: str) -> None:
    above, _, last = key.rpartition(".")
    parent = OmegaConf.select(config, above) if above else config
    if isinstance(parent, DictConfig) and last in parent:
        with unlocked(parent):
            del parent[last]


def missing_keys(config: DictConfig) -> list[str]:
    """Return the dotted keys whose value is `???`, sorted; not those of Hydra's node, nor references to missing values.

    >>> from omegaconf import OmegaConf
    >>> missing_keys(OmegaConf.create({"a": {"b": "???"}, "c": "${a.b}", "d": [1, "???"], "hydra": {"x": "???"}}))
    ['a.b', 'd.1']
    """
    missing = [leaf.path for leaf in walk(config, skip=("hydra",)) if is_missing(leaf.node)]
    return sorted(dotted(path) for path in missing)


def check_missing(config: DictConfig, subject: str = "", advice: str = "") -> None:
    """Refuse a config that lacks values.

    Raises:
        MissingError: naming all of them.
    """
    missing = missing_keys(config)
    if missing:
        raise MissingError(f"{subject}these values are missing: {', '.join(missing)}{advice}")
