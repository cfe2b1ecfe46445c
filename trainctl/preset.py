"""What users name in their configs: `hydra/launcher=slots`, `hydra/callbacks=[trainctl]`, `defaults: [trainctl]`.

Registered on import. This module is imported, so run once, while Hydra runs the modules of `hydra_plugins` again at will.
"""

from __future__ import annotations

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from trainctl.config.naming import current_swept, job_name
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
    callback = {"trainctl": {"_target_": "trainctl.callback.TrainctlCallback"}}
    store.store(group="hydra/callbacks", name="trainctl", node=callback, provider=_PROVIDER)
    store.store(name="trainctl", node=_PRESET, package="_global_", provider=_PROVIDER)
    # omegaconf 2.4 has a new name for it and warns of the old one
    register = getattr(OmegaConf, "register_resolver", None) or OmegaConf.register_new_resolver
    register("trainctl_name", name_of, replace=True)


def name_of(*, _root_: DictConfig) -> str:
    """Return the readable name of the job whose config this is: the resolver `${trainctl_name:}`."""
    overrides = OmegaConf.select(_root_, "hydra.overrides.task") or []
    groups = OmegaConf.select(_root_, "hydra.runtime.choices") or {}
    return job_name([str(text) for text in overrides], current_swept(), {str(group) for group in groups})


_register()
