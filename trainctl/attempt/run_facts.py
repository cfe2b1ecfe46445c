"""What `run.yaml` says of a job: who it is, how it was started, on which machine."""

from __future__ import annotations

import sys
from typing import Any

from omegaconf import DictConfig

from trainctl.config.overrides import task_overrides
from trainctl.config.settings import Settings
from trainctl.config.settings_node import hydra_config
from trainctl.rundir.job_identity import JobIdentity
from trainctl.rundir.paths import RunDir
from trainctl.rundir.program import program_of
from trainctl.rundir.provenance import machine_facts, program_argv


def plain_facts(config: DictConfig, settings: Settings, run: RunDir, task: Any = None) -> dict[str, Any]:
    """Return what `run.yaml` says of a run that no launcher started; a sweep knows it only by its task function."""
    hydra = hydra_config()
    return {
        **JobIdentity.of(config, settings.identity.exclude, program_of(task), hidden=settings.hidden).record(run),
        **({"overrides": [], "argv": list(sys.argv)} if hydra is None else given_facts(hydra)),
        **machine_facts(),
    }


def given_facts(hydra: Any) -> dict[str, list[str]]:
    """Return a job's overrides from its config's `hydra` node, and the command line that would run that job alone."""
    overrides = task_overrides(hydra)
    return {"overrides": overrides, "argv": [*program_argv(), *overrides]}
