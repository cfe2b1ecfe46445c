"""One text names a source: its kind, a slash, and where it is."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from trainctl.config.adopt import NEVER_LOADED
from trainctl.config.loaded import Loaded
from trainctl.config.safe_yaml import MAX_DEPTH
from trainctl.errors import SourceError
from trainctl.sources import remote
from trainctl.sources.copies import copy_of
from trainctl.sources.files import read_file
from trainctl.sources.runs import read_run

KINDS = ("gin", "ini", "json", "mlflow", "run", "wandb", "wandb_offline", "yaml")

_with_copies: contextvars.ContextVar[tuple[Path, ...]] = contextvars.ContextVar("with_copies", default=())


def is_source(text: str) -> bool:
    """Say whether a text is written as a source is.

    >>> is_source("run/outputs/train/Norm_new"), is_source("run/"), is_source("norm/new")
    (True, False, False)
    """
    kind, _, place = text.partition("/")
    return kind in KINDS and bool(place)


def read_source(text: str) -> Loaded:
    """Read an earlier run, or a file of another format.

    Args:
        text: `run/RUN_DIR`, `run/RUN_DIR@STEP`, `ini/FILE`, `wandb/ENTITY/PROJECT/RUN`, …

    Raises:
        SourceError: there is none, it cannot be reached, or it is no config.
    """
    if not is_source(text):
        raise SourceError(f"{text!r} names no source; one is given as KIND/PLACE, with the kinds {', '.join(KINDS)}")
    for run in _with_copies.get():
        copy = copy_of(text, run)
        if copy is not None:
            return copy
    loaded = _read(text)
    if _depth(loaded.values) > MAX_DEPTH:
        raise SourceError(f"+from={text} is nested more than {MAX_DEPTH} deep, which is no config")
    values = {key: value for key, value in loaded.values.items() if key not in NEVER_LOADED}
    return dataclasses.replace(loaded, values=values)


def _read(text: str) -> Loaded:
    kind, _, place = text.partition("/")
    if kind == "run":
        return read_run(text, place)
    return remote.read(text, kind) if kind in remote.KINDS else read_file(text, kind)


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [item for each in level if isinstance(each, dict | list) for item in _items(each)]:
        depth += 1
    return depth


def _items(value: dict[Any, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


@contextlib.contextmanager
def taking_copies(runs: tuple[Path, ...]) -> Iterator[None]:
    """Take the copies that run dirs have in place of their sources inside the block: neither need be there any more."""
    token = _with_copies.set(runs)
    try:
        yield
    finally:
        _with_copies.reset(token)
