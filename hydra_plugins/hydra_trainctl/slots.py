"""The launcher plugin `hydra/launcher=slots`; importing `trainctl.preset` registers the configs of all our parts."""

from collections.abc import Sequence
from typing import Any

import trainctl.preset  # noqa: F401  # registers
from hydra.core.utils import JobReturn
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher
from omegaconf import DictConfig


class SlotLauncher(JoblibLauncher):
    """Runs each job in its own process, on its own slot of devices, in its own directory, and resumes what is not done."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self._options = options
        self._sweeps: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Check the settings; nothing is started yet."""
        from trainctl.launch.compose import SweepContext
        from trainctl.launch.launcher import SlotSweeps

        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self._sweeps = SlotSweeps(SweepContext(config, task_function, hydra_context), self._options)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs and return their JobReturns in order; the zygote is kept for the next call."""
        returns: Sequence[JobReturn] = self._sweeps.launch(job_overrides, initial_job_idx)
        return returns
