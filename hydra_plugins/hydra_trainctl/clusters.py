"""The launcher plugins `hydra/launcher=slots_ray` and `hydra/launcher=slots_slurm`."""

from typing import Any

from omegaconf import OmegaConf

# Imported as a module: a scan would take the class itself for one of our plugins and list it twice.
from hydra_plugins.hydra_trainctl import slots


class SlurmLauncher(slots.SlotLauncher):
    """Runs each job as `slots` does, on devices that Slurm gives."""

    def _sweeps_of(self, context: Any) -> Any:
        from trainctl.launch.launcher import SlotSweeps
        from trainctl.launch.slurm import check_settings_of_slurm, make_slurm

        settings, of_slurm = check_settings_of_slurm(plain(self._options))
        return SlotSweeps(context, settings, make_slurm(of_slurm))


class RayLauncher(slots.SlotLauncher):
    """Runs each job as `slots` does, on devices that Ray gives."""

    def _sweeps_of(self, context: Any) -> Any:
        from trainctl.launch.launcher import SlotSweeps
        from trainctl.launch.ray import check_settings_of_ray, make_ray

        settings, of_ray = check_settings_of_ray(plain(self._options))
        return SlotSweeps(context, settings, make_ray(of_ray))


def plain(options: dict[str, Any]) -> dict[str, Any]:
    """Return a launcher's settings as plain values."""
    return {key: OmegaConf.to_container(each) if OmegaConf.is_config(each) else each for key, each in options.items()}
