"""The config of one job, and its name, identity and run dir; hooks of a task function (`trainctl_hooks`)."""

from __future__ import annotations

import copy
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import hydra.version
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobRuntime, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from trainctl.attempt.run_facts import job_argv
from trainctl.compose import _hydra
from trainctl.compose.pairs import FittingLoader, compose_parsed
from trainctl.config._omegaconf import registered_resolvers
from trainctl.config.drawn import Draws, draw
from trainctl.config.naming import naming_swept
from trainctl.config.overrides import task_overrides, texts_of
from trainctl.config.settings import Settings, settings_of
from trainctl.config.settings_node import setting
from trainctl.errors import RunDirError
from trainctl.rundir.job_identity import JobIdentity
from trainctl.rundir.paths import RunDir
from trainctl.rundir.program import NO_PROGRAM, Program
from trainctl.rundir.provenance import Start


class TaskHooks(Protocol):
    """Hooks by which a task tells the launcher about its jobs.

    Attributes:
        apart: keys of the config that do not tell two jobs apart.
    """

    apart: Sequence[str]

    def file(self, config: DictConfig) -> str | None:
        """Return the file that counts as the program instead of the task function's file, if any."""

    def is_finished(self, config: DictConfig, run: RunDir) -> bool:
        """Whether nothing is left to do with this config in a run that is done."""

    def describe(self, config: DictConfig, run: RunDir) -> list[str]:
        """Describe line by line what a job would do there."""


class _NoHooks:
    apart: Sequence[str] = ()

    def file(self, config: DictConfig) -> str | None:
        return None

    def is_finished(self, config: DictConfig, run: RunDir) -> bool:
        return True

    def describe(self, config: DictConfig, run: RunDir) -> list[str]:
        return []


def hooks_of(task: TaskFunction) -> TaskHooks:
    """Return the hooks of a task function; for one without any, a run that is done is finished."""
    return cast("TaskHooks", getattr(task, "trainctl_hooks", _NoHooks()))


_hydra.joblib_execute()  # imports what a job needs, once, before anything is forked


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One job as the sweeper gave it.

    Attributes:
        number: `hydra.job.num`.
        overrides: as Hydra read them.
        swept: the keys that differ between the jobs.
        rerun: which earlier outcome is run again, as `hydra.launcher.rerun`.
        threads: the job's share of cores, as `Slot.threads`, which is the same for all slots.
        ahead: run it up to its task function before it has a slot.
        launch: a unique text; tells the jobs of this `launch()` from those of others.
        resumes: false ignores the runs that other launchers have left in the sweep dir.
    """

    number: int
    overrides: tuple[Override, ...]
    swept: frozenset[str]
    rerun: str = "failed"
    threads: Mapping[str, str] = field(default_factory=dict, hash=False)
    ahead: bool = False
    launch: str = ""
    resumes: bool = True

    @property
    def texts(self) -> list[str]:
        """The overrides verbatim."""
        return texts_of(self.overrides)


@dataclass(frozen=True, slots=True)
class SweepContext:
    """What all jobs of a launcher share.

    Attributes:
        program: of the task function.
        token: a unique text; tells jobs apart that nothing else tells apart.
        begun: when the sweep began, in Unix seconds.
        start: of the program.
    """

    config: DictConfig
    task_function: TaskFunction
    hydra_context: HydraContext
    program: Program = NO_PROGRAM
    token: str = ""
    begun: float = math.inf
    start: Start = field(default_factory=Start.of_this_process)


@dataclass(slots=True)
class ComposedJob:
    """A job whose config is known.

    Attributes:
        config: with the `hydra` node.
        path: the run dir that the job asks for: sweep dir and name.
        draws: values of the config that resolvers have drawn.
        launcher: `SweepContext.token`.
    """

    spec: JobSpec
    config: DictConfig
    sweep_dir: Path
    path: Path
    identity: JobIdentity
    settings: Settings
    hooks: TaskHooks
    draws: Draws
    launcher: str = ""

    def is_finished(self, run: RunDir) -> bool:
        """Whether a run that is done leaves this job nothing to do."""
        return self.hooks.is_finished(self.config, run)

    def place(self, path: Path) -> None:
        """Set the run dir in Hydra's config."""
        self.config.hydra.sweep.dir = str(self.sweep_dir)
        self.config.hydra.sweep.subdir = str(path.relative_to(self.sweep_dir))
        self.config.hydra.run.dir = str(path)  # where Lightning sends the other ranks of a job


def warn_of_missing(context: SweepContext, jobs: Sequence[Sequence[Override]]) -> None:
    """Warn of the values that jobs lack, before the first of them starts."""
    loader: Any = context.hydra_context.config_loader
    if isinstance(loader, FittingLoader):
        loader.foresee(context.config, jobs)


def compose_job(context: SweepContext, spec: JobSpec) -> ComposedJob:
    """Compose a job's config as Hydra does, and work out where it runs.

    Raises:
        HydraException, OmegaConfBaseException: the overrides do not fit the config.
        SettingError: the job's `trainctl:` settings are not allowed.
    """
    master = context.config
    config = compose_parsed(context.hydra_context.config_loader, master, spec.overrides)
    with open_dict(config):
        config.hydra.job.id = f"{config.hydra.job.name}_{spec.number}"
        config.hydra.job.num = spec.number
    hydra_config: Any = HydraConfig.instance()
    hydra_config.cfg = config  # for `${hydra:…}`; Hydra itself checks and closes it when the job runs
    draws = draw(config, setting(config, "hidden") or ())
    sweep_dir = Path(str(OmegaConf.select(config, "hydra.sweep.dir"))).absolute()
    with naming_swept(spec.swept):
        subdir = str(OmegaConf.select(config, "hydra.sweep.subdir"))
    settings = settings_of(config)
    hooks = hooks_of(context.task_function)
    own = JobIdentity.of(
        config,
        [*settings.identity.exclude, *hooks.apart],
        context.program,
        only=f"{context.token} {spec.number}",
        drawn=draws.texts,
        hidden=settings.hidden,
    )
    return ComposedJob(spec, config, sweep_dir, job_dir(sweep_dir, subdir), own, settings, hooks, draws, context.token)


def job_dir(sweep_dir: Path, subdir: str) -> Path:
    """Return the directory of a job; a name that leads out of the sweep dir, or is the sweep dir itself, is refused.

    Raises:
        RunDirError: as above.
    """
    path = Path(os.path.normpath(sweep_dir / subdir))
    if Path(os.path.normpath(sweep_dir)) not in path.parents:
        raise RunDirError(
            f"hydra.sweep.subdir={subdir!r} is not below the sweep dir {str(sweep_dir)!r}, where a job has its own "
            "directory; ${trainctl_name:} and ${hydra.job.num} are such names"
        )
    return path


def execute(context: SweepContext, job: ComposedJob, task: TaskFunction) -> JobReturn:
    """Run a composed job in this process, which has the launcher's singletons, as if it had been started alone."""
    resolvers = registered_resolvers()
    sys.argv = job_argv(job.config.hydra, Path(job.config.hydra.run.dir))
    with naming_swept(job.spec.swept):
        return _hydra.execute_job(
            context.hydra_context, job.config, task, number=job.spec.number, master=context.config, resolvers=resolvers
        )


def skipped_return(job: ComposedJob, run_path: Path, value: Any) -> JobReturn:
    """Return the JobReturn of a job that was finished earlier."""
    with read_write(job.config.hydra), open_dict(job.config.hydra.runtime):
        job.place(run_path)
        job.config.hydra.runtime.output_dir = str(run_path)
    task_config = copy.deepcopy(job.config)
    with read_write(task_config), open_dict(task_config):
        del task_config["hydra"]
    hydra_config = OmegaConf.masked_copy(job.config, ["hydra"])
    chdir = job.config.hydra.job.chdir
    if chdir is None:  # Hydra 1.3 with a version base before 1.2 goes into the run dir
        chdir = hydra.__version__.startswith("1.3") and not hydra.version.base_at_least("1.2")
    returned = JobReturn(
        overrides=task_overrides(job.config.hydra),
        cfg=task_config,
        hydra_cfg=hydra_config,
        working_dir=str(run_path) if chdir else str(job.config.hydra.runtime.cwd),
        task_name=JobRuntime.instance().get("name"),
        status=JobStatus.COMPLETED,
    )
    returned.return_value = value
    return returned
