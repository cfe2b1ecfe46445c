"""Warming up the zygote: it runs the code of a job on a made-up config, so that jobs find caches filled.

Python specialises code that has run, and libraries cache what they have looked up. Forked jobs inherit that; whatever
a job does first itself costs time, and a copy of each memory page that changes.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import sys
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from trainctl.compose.job import SweepContext, prepare
from trainctl.config import yaml
from trainctl.config.identity import identity
from trainctl.config.settings import settings_of
from trainctl.launch.local import linux
from trainctl.launch.returns import pack_config
from trainctl.rundir.provenance import machine_facts
from trainctl.rundir.status import boot_id

_ROUNDS = 3
_MADE_UP: dict[str, Any] = {
    "trainctl": {"poll_s": 0.05},
    "a": {"b": "${c}_${.d}", "d": [1, 2.5, None, True, {"e": "${oc.select:f,text}"}]},
    "c": "${now:%Y}",
}


def rehearse(context: SweepContext) -> None:
    """Run the code that needs only the config. Nothing is resolved or written, and errors are ignored."""
    hydra_config: Any = HydraConfig.instance()
    before = hydra_config.cfg
    try:
        with contextlib.suppress(Exception):  # only time is lost
            _import_late_parts()
            for _ in range(_ROUNDS):
                _walk(copy.deepcopy(context.config))
                linux.holds_device()
                boot_id()
    finally:
        hydra_config.cfg = before


def _walk(config: DictConfig) -> None:
    with open_dict(config):
        config.hydra.job.num = 0
    HydraConfig.instance().set_config(config)
    with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
        config.hydra.runtime.output_dir = "/"
    known: Any = HydraConfig.instance().cfg
    pack_config(known)
    task_config = copy.deepcopy(config)
    with read_write(task_config), open_dict(task_config):
        del task_config["hydra"]
    for each in (task_config, copy.deepcopy(known), config.hydra.overrides.task):
        io.StringIO().write(OmegaConf.to_yaml(each))
    made_up = OmegaConf.create(_MADE_UP)
    OmegaConf.set_struct(made_up, True)
    settings = settings_of(made_up)
    identity(made_up, settings.identity.exclude)
    OmegaConf.to_container(made_up, resolve=True)
    yaml.loads(yaml.dumps({**machine_facts(), "overrides": []}))


def _import_late_parts() -> None:
    """Import what each job would otherwise import on its slot, to run and to seed it, before its first line runs."""
    prepare()
    if "numpy" in sys.modules:
        for name in ("numpy.random", "threadpoolctl"):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
