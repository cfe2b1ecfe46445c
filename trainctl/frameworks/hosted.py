"""The live session in a framework's training loop: found when the loop begins, and used at each of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from trainctl.attempt.begin import is_outside_any_run
from trainctl.errors import SettingError
from trainctl.session.api import IdleLive, current, live
from trainctl.session.live import Live

# Measurements of time differ in each repetition of a run, and say nothing about the training.
_CLOCKED = ("_runtime", "_per_second")


def session(given: Live | DictConfig | None, asker: str) -> Live:
    """Return the session that was given to a callback, or that of a config; else that of this process.

    Outside any run that one is idle.

    Raises:
        SettingError: there is none, in a process that has a run.
    """
    opened = live(given) if isinstance(given, DictConfig) else given or current()
    if isinstance(opened, IdleLive) and not is_outside_any_run():
        raise SettingError(
            f"{asker}: there is no live session; call trainctl.live(cfg) before the training starts, on every rank; "
            f"where the training itself starts the ranks (ddp_spawn), do not call it but give the config: {asker}(cfg)"
        )
    return opened


def numbers(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of a framework that `live.log` accepts.

    >>> numbers({"loss": 0.5, "epoch": 2, "train_runtime": 8.1, "step": 3, "name": "x"})
    {'loss': 0.5, 'epoch': 2}
    """
    return {
        name: value
        for name, value in metrics.items()
        if name not in ("step", "t") and not name.endswith(_CLOCKED) and _is_number(value)
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or getattr(value, "numel", lambda: 0)() == 1
