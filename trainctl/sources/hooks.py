"""Where sources enter Hydra's composition. Loaded by the first question about a source, so by no app that names none.

By then Hydra is making its defaults list. Three names that it looks up after the question lead to this module from
there on; a composition without a source goes on to Hydra's own code.
"""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Iterable
from types import FrameType
from typing import Any

from omegaconf import DictConfig

from trainctl.sources import composing, seam
from trainctl.sources.groups import GROUP, UNKNOWN_GROUP

_is_making: contextvars.ContextVar[bool] = contextvars.ContextVar("is_making", default=False)


def install() -> None:
    """Lead the steps of Hydra that a source needs through this module, in this process."""
    seam.listing._create_defaults_list = _list
    seam.listing.DefaultsList = _finished
    seam.loader._compose_config_from_defaults_list = _compose


def is_answered() -> bool:
    """Whether the groups `from` and `from_unknown` are there for whoever asks.

    Not while Hydra itself reads the command line: `_list` reads it anew, and knows when `from=3` is a key of the app.
    """
    frame: FrameType | None = sys._getframe()
    while not _is_making.get() and frame is not None:
        if frame.f_code is seam.hydra_defaults_list.__code__:
            return False
        frame = frame.f_back
    return True


def _list(*arguments: Any, **options: Any) -> Any:
    """Make the entries of a defaults list, with the sources if the command line names one."""
    asked = _asked(sys._getframe(1))
    if asked is None or all(each.key_or_group not in (GROUP, UNKNOWN_GROUP) for each in asked["overrides_list"]):
        return seam.hydra_list(*arguments, **options)
    made = _make(asked)
    _, _, overrides = arguments
    vars(overrides).update(vars(made.overrides))  # Hydra checks in its own ones that each was used
    return made.defaults, made.defaults_tree


def _finished(**fields: Any) -> Any:
    """Return a finished defaults list; made anew, with the sources, if a config file names one."""
    asked = _asked(sys._getframe(1))
    if asked is None or composing.is_made(fields["defaults"]) or not _has_source(fields["defaults"]):
        return seam.hydra_finished(**fields)
    return _make(asked)


def _compose(self: Any, defaults: Any, repo: Any) -> DictConfig:
    compose: Any = composing.compose if _has_source(defaults) else seam.hydra_compose
    config: DictConfig = compose(self, defaults, repo)
    return config


def _asked(caller: FrameType) -> dict[str, Any] | None:
    """Return what Hydra was asked to make a defaults list of; None where it is not Hydra, or we have asked it."""
    code = seam.hydra_defaults_list.__code__
    if _is_making.get() or caller.f_code is not code:
        return None
    return {name: caller.f_locals[name] for name in code.co_varnames[: code.co_argcount]}


def _make(asked: dict[str, Any]) -> Any:
    token = _is_making.set(True)
    try:
        return composing.create_defaults_list(**asked)
    finally:
        _is_making.reset(token)


def _has_source(defaults: Iterable[Any]) -> bool:
    return any(str(entry.config_path).startswith(f"{GROUP}/") for entry in defaults)
