"""The path of a node in its config."""

from __future__ import annotations

from typing import Any

from omegaconf import Node

from trainctl.config._omegaconf import key_of, parent_of

Place = tuple[Any, ...]  # the keys from the top of a config to a node


def place_of(node: Node) -> Place:
    """Return the keys that lead to a node."""
    keys: list[Any] = []
    while (parent := parent_of(node)) is not None:
        keys.append(key_of(node))
        node = parent
    return tuple(reversed(keys))


def at(node: Node) -> str:
    """Return the full key of a node, for a sentence."""
    return written(place_of(node))


def written(place: Place) -> str:
    """Write a path as OmegaConf writes a full key: `model.layers[0]`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    return text.removeprefix(".") or "the top of the config"
