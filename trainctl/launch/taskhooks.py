"""What a task function may tell the launcher about its jobs, as its attribute `trainctl_hooks`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from hydra.types import TaskFunction
from omegaconf import DictConfig

from trainctl.run.rundir import RunDir


class TaskHooks(Protocol):
    """Answers about jobs that the task itself can tell best.

    Attributes:
        apart: keys of the config that do not tell two jobs apart.
    """

    apart: Sequence[str]

    def file(self, config: DictConfig) -> str | None:
        """Return the file that is the program rather than the one with the task function, if there is one."""

    def is_finished(self, config: DictConfig, run: RunDir) -> bool:
        """Say whether a run that is done has nothing left to do with this config."""

    def describe(self, config: DictConfig, run: RunDir) -> list[str]:
        """Say in lines what a job would do there."""


class _NoHooks:
    apart: Sequence[str] = ()

    def file(self, config: DictConfig) -> str | None:
        return None

    def is_finished(self, config: DictConfig, run: RunDir) -> bool:
        return True

    def describe(self, config: DictConfig, run: RunDir) -> list[str]:
        return []


def hooks_of(task: TaskFunction) -> TaskHooks:
    """Return the hooks of a task function; for one without any, a run that is done is finished."""
    return cast("TaskHooks", getattr(task, "trainctl_hooks", _NoHooks()))
