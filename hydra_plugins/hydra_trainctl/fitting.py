"""A launcher in front of the one that was chosen, where a sweep's jobs are fitted to their pairs (`trainctl.pairs`)."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict, read_write


class FittingLauncher(Launcher):
    """Leaves out the jobs whose options do not go together, and has the others launched."""

    def __init__(self) -> None:
        self._sweep: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Give the config its launcher back, and set that up."""
        from hydra.core.plugins import Plugins

        from trainctl.compose.skipped import FittingSweep

        loader: Any = hydra_context.config_loader
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.launcher = loader.launcher
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self._sweep = FittingSweep(launcher, loader, config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs that fit and return a JobReturn for every job, in order."""
        returns: Sequence[JobReturn] = self._sweep.launch(job_overrides, initial_job_idx)
        return returns
