"""What makes two jobs the same job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any

from omegaconf import Container, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

# Resolvers whose value tells when or where a job runs, not what it computes.
_OF_THE_MOMENT = ("${now:", "${hydra:", "${trainctl")

# Of our own settings, only these change what a job computes.
_OWN_KEYS_THAT_COUNT = ("trainctl.seed", "trainctl.replay", "trainctl.controls", "trainctl.editable")


def identity(config: DictConfig, exclude: Sequence[str] = ()) -> str:
    """Return a hash of the resolved task config: equal for equal values, however they were given.

    Left out are the `hydra` node, keys that match a pattern of `exclude` (`data.path`, `log.*`; a pattern covers all below
    it), and those of our own settings that change nothing about the result. An interpolation of the moment (`now:`,
    `hydra:`) or one that cannot be resolved before the run counts by its text.

    Returns:
        16 hexadecimal digits; an empty text when nothing is left to tell jobs apart: such a job is never taken for another.

    >>> one, same = OmegaConf.create({"x": 1, "y": "${x}"}), OmegaConf.create({"y": 1, "x": 1, "hydra": {}})
    >>> identity(one) == identity(same), identity(one) == identity(OmegaConf.create({"x": 1.0, "y": 1}))
    (True, False)
    """
    leaves = sorted((key, value) for key, value in _leaves(config, "") if _counts(key, exclude))
    if not leaves:
        return ""
    return hashlib.sha256(json.dumps(leaves, ensure_ascii=True, allow_nan=True).encode()).hexdigest()[:16]


def _counts(key: str, exclude: Sequence[str]) -> bool:
    top = key.partition(".")[0]
    if top == "hydra":
        return False
    if top == "trainctl" and not any(key == own or key.startswith(own + ".") for own in _OWN_KEYS_THAT_COUNT):
        return False
    return not any(fnmatchcase(key, pattern) or fnmatchcase(key, pattern + ".*") for pattern in exclude)


def _leaves(node: Container, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield key and JSON-able value of every leaf; an empty container and None are leaves."""
    assert isinstance(node, (DictConfig, ListConfig))
    keys = range(len(node)) if isinstance(node, ListConfig) else list(node.keys())
    for key in keys:
        if prefix == "" and key == "hydra":
            continue
        path = f"{prefix}{key}"
        value = _value(node, key)
        if OmegaConf.is_config(value) and len(value) > 0:
            yield from _leaves(value, path + ".")
        elif OmegaConf.is_config(value):
            yield path, [] if isinstance(value, ListConfig) else {}
        else:
            yield path, value


def _value(node: DictConfig | ListConfig, key: Any) -> Any:
    if OmegaConf.is_missing(node, key):
        return "???"
    if OmegaConf.is_interpolation(node, key):
        text = str(node._get_node(key)._value())  # type: ignore[union-attr]  # an interpolation is a single node
        if any(mark in text for mark in _OF_THE_MOMENT):
            return text
        try:
            value = node[key]
        except OmegaConfBaseException:
            return text
    else:
        value = node[key]
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if value is None or OmegaConf.is_config(value) or isinstance(value, (bool, int, float, str)):
        return value
    return f"{type(value).__name__}:{value}"
