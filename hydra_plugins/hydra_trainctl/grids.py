"""The sweeper plugin `hydra/sweeper=grids`."""

from typing import Any, Optional

from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class GridSweeper(Sweeper):
    """Runs a union of grids, each job once, on any launcher."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self.config: Optional[DictConfig] = None
        self.launcher: Optional[Launcher] = None
        self.hydra_context: Optional[HydraContext] = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the launcher; nothing is started yet."""
        from hydra.core.plugins import Plugins

        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the jobs of all grids, and return their JobReturns in order; raises what the first failed job raised."""
        from trainctl.compose.grids import GridJobs
        from trainctl.errors import TrainctlError

        assert self.config is not None
        assert self.launcher is not None
        assert self.hydra_context is not None
        try:
            jobs = GridJobs(self.config, self.hydra_context, self._options)
            returns = jobs.launch(self.launcher, arguments)
        except TrainctlError as error:
            raise CompactHydraException(str(error)) from error
        for each in returns:
            _ = each.return_value  # raises what a failed job raised, as Hydra's own sweeper does
        return [returns]
