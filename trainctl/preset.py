"""What users name in their configs: launcher `slots`, sweeper `grids`, callback `trainctl`, `defaults: [trainctl]`.

`hydra_plugins` puts these names into Hydra's ConfigStore, and imports this module when one of them is first loaded.
Importing it registers the resolver that the preset uses, names jobs after the program, and has the settings moved out
of the task's config wherever Hydra composes one in this process.
"""

from __future__ import annotations

import functools
import inspect
import sys
from pathlib import Path
from typing import Any

from hydra.core.utils import JobRuntime
from omegaconf import DictConfig, OmegaConf

from trainctl.compose import _hydra
from trainctl.config.grid import GridSweeperConf
from trainctl.config.naming import current_swept, name_of_parts
from trainctl.config.overrides import task_parts
from trainctl.config.settings import Settings
from trainctl.config.settings_node import leave_out_of_dirname, move_settings, without_defaults
from trainctl.launch.cluster_settings import RayConf, SlurmConf
from trainctl.launch.settings import SlotLauncherConf
from trainctl.rundir.provenance import module_name

_PRESET = {
    "defaults": [
        "_self_",
        f"/{_hydra.SETTINGS}",
        {"override /hydra/launcher": "slots"},
        {"override /hydra/callbacks": "trainctl"},
    ],
    "hydra": {
        "run": {"dir": "outputs/${hydra.job.name}/${now:%Y-%m-%d}_${now:%H-%M-%S}"},
        # stable, so that the same command resumes
        "sweep": {"dir": "outputs/${hydra.job.name}", "subdir": "${trainctl_name:}"},
    },
}


_NODES: dict[str, Any] = {
    "hydra/launcher/slots": SlotLauncherConf,
    "hydra/launcher/slots_ray": RayConf,
    "hydra/launcher/slots_slurm": SlurmConf,
    "hydra/sweeper/grids": GridSweeperConf,
    "hydra/callbacks/trainctl": {"trainctl": {"_target_": "trainctl.callback.TrainctlCallback"}},
    "trainctl": _PRESET,
    _hydra.SETTINGS: Settings,
}


@functools.cache
def load(config_path: str) -> DictConfig:
    """Return one of the typed configs; it is always the same object, since the ConfigStore hands out copies."""
    config: DictConfig = OmegaConf.structured(_NODES[config_path])
    return config


def _register() -> None:
    register: Any = OmegaConf.register_new_resolver
    if "replace" in inspect.signature(OmegaConf.register_resolver).parameters:
        register = OmegaConf.register_resolver  # omegaconf 2.4 gave it the old name back and warns of the new one
    register("trainctl_name", name_of, replace=True)


def name_of(*, _root_: DictConfig) -> str:
    """Return the readable name of the job whose config this is: the resolver `${trainctl_name:}`."""
    hydra = OmegaConf.select(_root_, "hydra")
    groups = {str(group) for group in hydra.runtime.choices}
    return name_of_parts(task_parts(hydra), current_swept(), groups)


def _composed(config: DictConfig, overridden: list[str], for_job: bool) -> None:
    """Move the settings of a config that Hydra has composed, except in a program that calls `hydra.compose` itself.

    `hydra.compose` takes Hydra's node away, and `trainctl.live(cfg)` would find no settings.
    """
    leave_out_of_dirname(config, overridden)
    if for_job:
        move_settings(config)


def _name_after_program() -> None:
    """Give jobs the program's name where Hydra took it from the file of hydra-zen's wrapper, `_implementations`."""
    runtime, program = JobRuntime.instance(), module_name() or getattr(sys.modules.get("__main__"), "__file__", None)
    if program and "hydra_zen" in sys.modules and OmegaConf.select(runtime.conf, "name") == "_implementations":
        path = Path(program)
        stem = path.parent.name if path.stem == "__main__" else path.stem
        runtime.set("name", stem if path.suffix == ".py" else program.rpartition(".")[2])


_register()
_name_after_program()
if _hydra.is_known():
    _hydra.after_composing(_composed, without_defaults)
