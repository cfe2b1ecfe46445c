"""Running a job ahead, up to its task function, before it has a slot, so that slots idle as little as possible.

Hydra's part of a job (its directory, its log, its record of the config) takes longer than trainctl's. It is done while
the slot is still busy with the job before, where only Hydra and trainctl could notice.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

_OF_THE_SLOT = ("_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "CUDA_DEVICE_ORDER", "TRAINCTL_", "_NUM_THREADS")


class NotStarted(BaseException):
    """Ends a job before its task begins; a BaseException, because Hydra takes any Exception for one of the task."""


def may_run_ahead(context: HydraContext, config: DictConfig) -> bool:
    """Whether only Hydra and trainctl can notice that a job gets its slot late.

    A callback of the user's could notice (it may start a tracker or touch a GPU), and so could a setting that reads
    the environment of the slot.
    """
    if not all(getattr(callback, "may_run_ahead", False) for callback in context.callbacks.callbacks):
        return False
    text = OmegaConf.to_yaml(config.hydra)
    return "oc.env" not in text or not any(name in text for name in _OF_THE_SLOT)


def changes_hydra(overrides: Sequence[Override]) -> bool:
    """Whether a job changes Hydra's own config."""
    return any(each.key_or_group.startswith("hydra") for each in overrides)


def when_started(task: TaskFunction, start: Callable[[], object]) -> TaskFunction:
    """Wrap a task function so that `start` is called first."""

    @functools.wraps(task)
    def run(config: DictConfig) -> Any:
        start()
        return task(config)

    return run
