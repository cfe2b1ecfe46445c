"""The launcher plugin `hydra/launcher=slots`."""

from collections.abc import Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher
from omegaconf import DictConfig

from trainctl.launch.settings import SlotLauncherConf

ConfigStore.instance().store(group="hydra/launcher", name="slots", node=SlotLauncherConf, provider="hydra_trainctl")


class SlotLauncher(JoblibLauncher):
    """Runs each job in its own process, on its own slot of devices, in its own directory, and resumes what is not done."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self._options = options
        self._sweeps: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from trainctl.launch.compose import SweepContext
        from trainctl.launch.launcher import SlotSweeps

        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self._sweeps = SlotSweeps(SweepContext(config, task_function, hydra_context), self._options)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        returns: Sequence[JobReturn] = self._sweeps.launch(job_overrides, initial_job_idx)
        return returns
