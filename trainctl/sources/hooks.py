"""Where sources enter Hydra's composition. Loaded by the first question about a source, so by no app that names none.

By then Hydra is making its defaults list. From there on the steps that follow lead to this module; a composition
without a source goes on to Hydra's own code.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig

from trainctl.compose import _hydra
from trainctl.sources import composing
from trainctl.sources.groups import GROUP, UNKNOWN_GROUP

_is_making: contextvars.ContextVar[bool] = contextvars.ContextVar("is_making", default=False)


def install() -> None:
    """Lead the steps of Hydra that a source needs through this module, in this process."""
    if _hydra.IS_KNOWN:
        _hydra.lead(_list, _finished, _merge)


def is_answered() -> bool:
    """Whether the groups `from` and `from_unknown` are there for whoever asks.

    Not while Hydra itself reads the command line: `_list` reads it again, and knows when `from=3` is a key of the app.
    """
    return _is_making.get() or not (_hydra.IS_KNOWN and _hydra.is_making_a_list())


def _list(request: _hydra.Request) -> Any:
    """Make a defaults list with the sources, if the command line names one."""
    overrides = () if _is_making.get() else request["overrides_list"]
    return _make(request) if any(each.key_or_group in (GROUP, UNKNOWN_GROUP) for each in overrides) else None


def _finished(request: _hydra.Request, defaults: list[Any]) -> Any:
    """Make a defaults list again, with the sources, if a config file names one."""
    if _is_making.get() or composing.is_made(defaults) or not _has_source(defaults):
        return None
    return _make(request)


def _merge(loader: Any, defaults: list[Any], repo: Any) -> DictConfig:
    return (composing.compose if _has_source(defaults) else _hydra.merge_defaults)(loader, defaults, repo)


def _make(request: _hydra.Request) -> Any:
    token = _is_making.set(True)
    try:
        return composing.create_defaults_list(**request)
    finally:
        _is_making.reset(token)


def _has_source(defaults: Iterable[Any]) -> bool:
    return any(str(entry.config_path).startswith(f"{GROUP}/") for entry in defaults)
