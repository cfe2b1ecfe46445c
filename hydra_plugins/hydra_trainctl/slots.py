"""The launcher plugins `hydra/launcher=slots`, `slots_ray` and `slots_slurm`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra.core.utils import JobReturn
from hydra.errors import CompactHydraException
from hydra.types import HydraContext, TaskFunction

# Imported as a module: a scan would take the class itself for a plugin of trainctl and list it twice.
from hydra_plugins.hydra_joblib_launcher import joblib_launcher
from omegaconf import DictConfig, OmegaConf


class SlotLauncher(joblib_launcher.JoblibLauncher):  # type: ignore[misc]  # the plugin is untyped
    """Runs each job in its own process, slot of devices and directory, and resumes what is not done."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self._options = options
        self._sweeps: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Check the settings; nothing is started yet."""
        from trainctl.compose.job import SweepContext
        from trainctl.compose.loader import share_compositions

        share_compositions(hydra_context)
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        with _one_sentence():
            self._sweeps = self._sweeps_of(SweepContext(config, task_function, hydra_context))

    def _sweeps_of(self, context: Any) -> Any:
        from trainctl.launch.launcher import SlotSweeps
        from trainctl.launch.local.this_machine import this_machine
        from trainctl.launch.settings import check_settings

        return SlotSweeps(context, check_settings(**self._options), this_machine)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs and return their JobReturns in order; the zygote is kept for the next call."""
        from trainctl.config.overrides import parse_overrides

        jobs = [parse_overrides(each) for each in job_overrides]
        with _one_sentence():
            returns: Sequence[JobReturn] = self._sweeps.launch(jobs, initial_job_idx)
        return returns


class SlurmLauncher(SlotLauncher):
    """Runs each job as `slots` does, on devices that Slurm gives."""

    def _sweeps_of(self, context: Any) -> Any:
        from trainctl.launch.launcher import SlotSweeps
        from trainctl.launch.slurm import check_slurm, make_slurm

        settings, of_slurm = check_slurm(plain(self._options))
        return SlotSweeps(context, settings, make_slurm(of_slurm))


class RayLauncher(SlotLauncher):
    """Runs each job as `slots` does, on devices that Ray gives."""

    def _sweeps_of(self, context: Any) -> Any:
        from trainctl.launch.launcher import SlotSweeps
        from trainctl.launch.ray import check_ray, make_ray

        settings, of_ray = check_ray(plain(self._options))
        return SlotSweeps(context, settings, make_ray(of_ray))


def plain(options: dict[str, Any]) -> dict[str, Any]:
    """Return a launcher's settings as plain values."""
    return {key: OmegaConf.to_container(each) if OmegaConf.is_config(each) else each for key, each in options.items()}


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Have Hydra print what was refused, without a traceback."""
    from trainctl.errors import TrainctlError

    try:
        yield
    except TrainctlError as error:
        raise CompactHydraException(str(error)) from error
