"""The command line that runs one job of a sweep again."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from trainctl.attempt.run_facts import program_argv
from trainctl.compose._hydra import BASIC_SWEEPER
from trainctl.config.masking import Masking, patterns_of
from trainctl.config.overrides import hydra_overrides, quoted, task_overrides
from trainctl.rundir.provenance import module_name, relative_to

_COMMANDS = "trainctl.commands"  # the program behind `trainctl run`, which adds these
_OF_COMMANDS = ("hydra.job.name=", "++hydra.callbacks.trainctl_commands.")
_OF_THE_SWEEP = ("hydra.mode=", "hydra.launcher.rerun=none", "hydra.launcher.first=")


def command_again(config: DictConfig, job: Sequence[str], path: Path | None) -> str | None:
    """Return the command line that runs one job again in its run dir, with secrets masked.

    With Hydra's own sweeper the command runs the job on a slot, chosen by its overrides. Any other sweeper would run
    its whole sweep, so the command is a single run. None if no command line says what the sweep is: a program that
    uses Hydra as a library.

    Args:
        config: of the sweep.
        job: the job's overrides, in their own words.
        path: its run dir; None if it has none.
    """
    given, own = task_overrides(config.hydra), hydra_overrides(config.hydra)
    chosen = [text for text in own if not text.startswith(_OF_THE_SWEEP)]
    if not {*given, *(text for text in chosen if not text.startswith("hydra.sweep.dir="))} <= set(sys.argv[1:]):
        return None
    is_sweep = str(OmegaConf.select(config, "hydra.sweeper._target_")) == BASIC_SWEEPER
    if not is_sweep and path is None:
        return None
    if not is_sweep:
        chosen = [f"hydra.run.dir={quoted(relative_to(path, Path.cwd()))}"] if path is not None else []
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    masking = Masking({}, patterns_of(plain))
    _, *flags = program_argv()
    if module_name() == _COMMANDS:
        program = [*_commands(flags), *([] if is_sweep else ["--run"])]
        chosen = [text for text in chosen if not text.startswith(_OF_COMMANDS)]
    else:
        program = [*_program(), *(["-m"] if is_sweep else []), *flags]
    return shlex.join([*program, *(masking.text(text) for text in (*job, *chosen))])


def _commands(flags: list[str]) -> list[str]:
    """Return the command line of `trainctl run` that gave the app these flags of Hydra's, the config among them."""
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    config = Path(given.pop("--config-path"), f"{given.pop('--config-name')}.yaml")
    trainctl = ["trainctl"] if shutil.which("trainctl") else [_python(), "-m", "trainctl"]
    others = [word for pair in given.items() for word in pair]
    return [*trainctl, "run", "--config", relative_to(config, Path.cwd()), *others]


def _program() -> list[str]:
    module, script = module_name(), sys.argv[0]
    if module is not None:
        return [_python(), "-m", module]
    name = os.path.basename(script)
    if os.path.realpath(shutil.which(name) or "") == os.path.realpath(script):
        return [name]
    return [_python(), script]


def _python() -> str:
    if shutil.which("python") == sys.executable:
        return "python"
    return relative_to(Path(sys.executable), Path.cwd())
