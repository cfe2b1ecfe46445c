"""The callback `hydra/callbacks=[trainctl]` and the preset `defaults: [trainctl]`."""

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from trainctl.config.naming import current_swept, job_name
from trainctl.config.settings import Settings

_store = ConfigStore.instance()

_store.store(
    group="hydra/callbacks",
    name="trainctl",
    node={"trainctl": {"_target_": "trainctl.callback.TrainctlCallback"}},
    provider="hydra_trainctl",
)

_store.store(
    name="trainctl",
    node={
        "defaults": [
            {"override /hydra/launcher": "slots"},
            {"override /hydra/callbacks": "trainctl"},
            "trainctl_settings@trainctl",
            "_self_",
        ],
        "hydra": {
            "run": {"dir": "outputs/${hydra.job.name}/${now:%Y-%m-%d}_${now:%H-%M-%S}"},
            "sweep": {"dir": "outputs/${hydra.job.name}", "subdir": "${trainctl_name:}"},
        },
    },
    package="_global_",
    provider="hydra_trainctl",
)
_store.store(name="trainctl_settings", node=Settings, provider="hydra_trainctl")


def _name(*, _root_: object) -> str:
    overrides = OmegaConf.select(_root_, "hydra.overrides.task") or []
    groups = OmegaConf.select(_root_, "hydra.runtime.choices") or {}
    return job_name([str(text) for text in overrides], current_swept(), {str(group) for group in groups})


OmegaConf.register_new_resolver("trainctl_name", _name, replace=True)
