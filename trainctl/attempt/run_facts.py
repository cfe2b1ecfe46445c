"""The entries of `run.yaml` when a run begins: which job it is, which values were drawn, how it was started."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from trainctl.config.drawn import Draws, draw
from trainctl.config.overrides import hydra_overrides, of_one_run, quoted, single_run_overrides, task_overrides
from trainctl.config.settings import Settings
from trainctl.config.settings_node import hydra_config
from trainctl.rundir import files
from trainctl.rundir.job_identity import JobIdentity
from trainctl.rundir.paths import RunDir
from trainctl.rundir.program import program_of
from trainctl.rundir.provenance import Start, machine_facts, replayed_path


def drawing_facts(config: DictConfig, settings: Settings, run: RunDir) -> dict[str, Any]:
    """Set the drawn values of a config, reusing earlier ones, and return the facts of its run."""
    draws = draw(config, settings.hidden)
    draws.put_back(earlier_draws(run, settings.replay))
    return plain_facts(config, settings, run, draws=draws)


def plain_facts(
    config: DictConfig,
    settings: Settings,
    run: RunDir,
    task: Any = None,
    draws: Draws | None = None,
    start: Start | None = None,
) -> dict[str, Any]:
    """Return the entries of `run.yaml` of a run outside slots; in a sweep only the task function tells its program."""
    hydra = hydra_config()
    drawn = None if draws is None else draws.texts
    program = program_of(task, start=start)
    own = JobIdentity.of(config, settings.identity.exclude, program, drawn=drawn, hidden=settings.hidden)
    return {
        **own.record(run),
        **({} if draws is None else draws.facts()),
        **({"overrides": [], "argv": list(sys.argv)} if hydra is None else job_facts(hydra)),
        **machine_facts(start),
    }


def earlier_draws(run: RunDir, replay: str | None) -> dict[Any, Any]:
    """Return the values drawn before, by dotted key: by an earlier attempt in a run dir, else by a replayed run."""
    found: dict[Any, Any] = {}
    replayed = replayed_path(replay)
    for path in (replayed if replayed is None or replayed.is_dir() else replayed.parent, run.path):
        kept = None if path is None else files.read_mapping(RunDir.at(path).run).get("drawn")
        found |= kept if isinstance(kept, dict) else {}
    return found


def program_argv() -> list[str]:
    """Return the command line of the program without overrides, with only the flags that choose its config.

    >>> sys.argv, saved = ["train.py", "-m", "--config-name", "small", "lr=1,2"], sys.argv
    >>> program_argv()
    ['train.py', '--config-name', 'small']
    >>> sys.argv = saved
    """
    flags: list[str] = []
    wanted = {"--config-name": "--config-name", "-cn": "--config-name", "--config-path": "--config-path"}
    wanted |= {"-cp": "--config-path", "--config-dir": "--config-dir", "-cd": "--config-dir"}
    arguments = iter(sys.argv[1:])
    for argument in arguments:
        flag, given, value = argument.partition("=")
        if flag in wanted:
            flags += [wanted[flag], value if given else next(arguments, "")]
    return [sys.argv[0], *flags]


def job_facts(hydra: Any) -> dict[str, list[str]]:
    """Return a job's overrides from its config's `hydra` node, and the command line that would run that job alone.

    `hydra_overrides` are those of Hydra's node: an app may have no `.hydra` (`hydra.output_subdir: null`).
    """
    overrides = task_overrides(hydra)
    node = {
        key: OmegaConf.to_container(hydra[key], resolve=False)
        for key in ("overrides", "launcher", "callbacks")
        if hydra.get(key) is not None
    }
    argv = [*program_argv(), *overrides]
    return {"overrides": overrides, "hydra_overrides": single_run_overrides(node), "argv": argv}


def job_argv(hydra: Any, path: Path) -> list[str]:
    """Return the command line of a program that starts itself again (a rank of Lightning's), to be this job."""
    given = of_one_run(hydra_overrides(hydra))
    return [*program_argv(), *task_overrides(hydra), *given, f"hydra.run.dir={quoted(str(path))}"]
