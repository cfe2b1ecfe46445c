"""What users name in their configs: launcher `slots`, sweeper `grids`, callback `trainctl`, `defaults: [trainctl]`.

Registered on import. This module is imported, so run once; Hydra runs the modules of `hydra_plugins` again at will.
"""

from __future__ import annotations

import inspect
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from trainctl.config.grid import GridSweeperConf
from trainctl.config.naming import current_swept, job_name
from trainctl.config.override import task_overrides
from trainctl.config.settings import Settings
from trainctl.launch.settings import SlotLauncherConf

_PROVIDER = "hydra_trainctl"

_PRESET = {
    "defaults": [
        "_self_",
        {"override /hydra/launcher": "slots"},
        {"override /hydra/callbacks": "trainctl"},
    ],
    "trainctl": Settings,
    "hydra": {
        "run": {"dir": "outputs/${hydra.job.name}/${now:%Y-%m-%d}_${now:%H-%M-%S}"},
        # stable, so that the same command resumes
        "sweep": {"dir": "outputs/${hydra.job.name}", "subdir": "${trainctl_name:}"},
    },
}


def _register() -> None:
    store = ConfigStore.instance()
    store.store(group="hydra/launcher", name="slots", node=SlotLauncherConf, provider=_PROVIDER)
    store.store(group="hydra/sweeper", name="grids", node=GridSweeperConf, provider=_PROVIDER)
    callback = {"trainctl": {"_target_": "trainctl.callback.TrainctlCallback"}}
    store.store(group="hydra/callbacks", name="trainctl", node=callback, provider=_PROVIDER)
    store.store(name="trainctl", node=_PRESET, package="_global_", provider=_PROVIDER)
    register: Any = OmegaConf.register_new_resolver
    if "replace" in inspect.signature(OmegaConf.register_resolver).parameters:
        register = OmegaConf.register_resolver  # omegaconf 2.4 gave it the old name back and warns of the new one
    register("trainctl_name", name_of, replace=True)


def name_of(*, _root_: DictConfig) -> str:
    """Return the readable name of the job whose config this is: the resolver `${trainctl_name:}`."""
    hydra = OmegaConf.select(_root_, "hydra")
    groups = {str(group) for group in hydra.runtime.choices}
    return job_name(task_overrides(hydra), current_swept(), groups)


_register()
