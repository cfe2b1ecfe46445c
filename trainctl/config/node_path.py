"""Where a node stands in its config."""

from __future__ import annotations

from typing import Any

from omegaconf import ListConfig, Node

Place = tuple[Any, ...]  # the keys from the top of a config to a node


def place_of(node: Node) -> Place:
    """Return the keys that lead to a node. An item's own key cannot be trusted: a list keeps it when items move."""
    keys: list[Any] = []
    parent = node._get_parent()
    while parent is not None:
        key = node._key()
        if isinstance(parent, ListConfig):
            key = next((index for index in range(len(parent)) if parent._get_node(index) is node), key)
        keys.append(key)
        node, parent = parent, parent._get_parent()
    return tuple(reversed(keys))


def at(node: Node) -> str:
    """Return the full key of a node, for a sentence."""
    return written(place_of(node))


def written(place: Place) -> str:
    """Write a place as OmegaConf writes a full key: `model.layers[0]`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    return text.removeprefix(".") or "the top of the config"
