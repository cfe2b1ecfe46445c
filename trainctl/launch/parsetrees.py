"""The parse trees of OmegaConf's interpolations, each made once: nobody changes one, and jobs share most of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omegaconf import grammar_parser

own_parse = grammar_parser.parse

_trees: dict[tuple[Any, ...], Any] = {}


def parse(value: str, *rules: Any, **named: Any) -> Any:
    """Return what `omegaconf.grammar_parser.parse` returns.

    Raises:
        GrammarParseError: as that raises it.
    """
    key = (value, *rules, *named.items())
    tree = _trees.get(key)
    if tree is None:
        tree = _trees[key] = own_parse(value, *rules, **named)
    return tree


def interpolations(container: Any) -> Iterator[str]:
    """Yield the interpolations that a plain container, not resolved, holds as values."""
    if isinstance(container, str):
        if "${" in container:
            yield container
    elif isinstance(container, dict | list):
        for value in container.values() if isinstance(container, dict) else container:
            yield from interpolations(value)
