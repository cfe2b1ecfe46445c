"""A YAML document that a person or another process wrote: read so that no text can hurt the reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml as pyyaml

from trainctl.config import yaml

MAX_DEPTH = 100  # libyaml's constructor recurses in C: a text of 60,000 brackets would end the training process


def read_document(text: str, error: Callable[[str], Exception], *, aliases: bool = False) -> Any:
    """Read YAML that is nested at most `MAX_DEPTH` deep, by OmegaConf's rules.

    Args:
        text: one document.
        error: makes the exception to raise from the reason.
        aliases: allow `*name`, by which a short text can stand for an endless value.

    Raises:
        Exception: what `error` makes.
    """
    try:
        reason = _forbidden(text, aliases)
        if reason is None:
            return yaml.loads(text)
    except (pyyaml.YAMLError, ValueError, TypeError) as problem:  # TypeError: a list as a key of a mapping
        raise error(f"it is not YAML ({' '.join(str(problem).split())[:200]})") from problem
    raise error(reason)


def _forbidden(text: str, aliases: bool) -> str | None:
    depth = 0
    for event in pyyaml.parse(text, Loader=yaml.Loader):
        if isinstance(event, pyyaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                return f"it is nested more than {MAX_DEPTH} deep"
        elif isinstance(event, pyyaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, pyyaml.AliasEvent) and not aliases:
            return "it has a YAML alias (*name), which is not allowed"
    return None
