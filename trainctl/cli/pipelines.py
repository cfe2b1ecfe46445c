"""`trainctl run`: the commands of a config for every job of a sweep, as a Hydra app."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from trainctl.config.overrides import quoted
from trainctl.config.yaml import read_document
from trainctl.errors import TrainctlError

# short forms of overrides: `only=[avg]`
_SHORT = {
    "only": "trainctl.run.only",
    "force": "trainctl.run.force",
    "flags": "trainctl.run.flags",
    "dry_run": "hydra.launcher.dry_run",
}
_SHORT_OVERRIDE = re.compile(rf"({'|'.join(_SHORT)})=(.*)", re.DOTALL)
_RUN_DIR = re.compile(r"\+{0,2}hydra\.run\.dir=")
_NAMES = re.compile(r"(?!null$)[\w-]+(,[\w-]+)*")
_DEBUG = (
    "trainctl.run.debug=true",
    "hydra.launcher.first=1",
    "hydra.launcher.rerun=all",
    "hydra.launcher.progress=plain",
)
_LISTING = "++hydra.callbacks.trainctl_commands._target_=trainctl.commands.pipeline.CommandCheck"

# of Hydra's flags: those that say what it does instead of a sweep, and those that a value follows
_MODES = ("-m", "--multirun", "-r", "--run", "-c", "--cfg", "-i", "--info", "-sc", "--shell-completion", "-h", "--help",
          "--hydra-help", "--version")  # fmt: skip
_WITH_VALUE = ("-c", "--cfg", "-p", "--package", "-cd", "--config-dir", "--experimental-rerun")
_PERHAPS_WITH_VALUE = ("-i", "--info")

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def run(
    context: typer.Context,
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="The config with the commands.")],
    only: Annotated[str | None, typer.Option(metavar="NAMES", help="Only these commands: avg,test.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List jobs and commands, and run nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run commands again that are finished.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Only the first job, finished or not; show what commands print.")
    ] = False,
) -> None:
    """Run shell commands for each job of a sweep; all else is Hydra's: -m, overrides, hydra.launcher.slots=[0,1].

    The same command run again finishes what is not finished.
    """
    if not config.is_file():
        raise TrainctlError(f"there is no file {str(config)!r}")
    if config.suffix != ".yaml":
        raise TrainctlError(f"{str(config)!r} must be called *.yaml, as Hydra wants its configs")
    flags, overrides = _apart(context.args, _keys(config))
    settings = [
        *([_only(only.split(","))] if only is not None else []),
        *(["trainctl.run.force=true"] if force else []),
        *(["hydra.launcher.dry_run=true"] if dry_run else []),
        *(_DEBUG if debug else []),
    ]
    place = ["--config-path", str(config.parent.absolute()), "--config-name", config.stem]
    if not any(flag.split("=")[0] in _MODES for flag in flags):
        flags.append("--multirun")
    _check_place(flags, overrides)
    name = [f"hydra.job.name={quoted(config.stem)}"]
    command = [sys.executable, "-m", "trainctl.commands", *place, *flags, *name, _LISTING, *settings, *overrides]
    sys.stdout.flush()
    # replaces this process: the app gets the signals, and its exit code is that of this command
    os.execv(command[0], command)


def _check_place(flags: Sequence[str], overrides: Sequence[str]) -> None:
    """Refuse a directory of a single run for a sweep, which Hydra would not look at.

    Raises:
        TrainctlError: says where the jobs of a sweep lie.
    """
    is_sweep = any(flag in ("-m", "--multirun") for flag in flags)
    for text in overrides if is_sweep else ():
        if _RUN_DIR.match(text):
            raise TrainctlError(
                f"{text} is for a single run, and `trainctl run` starts a sweep; write hydra.sweep.dir=DIR, "
                "below which each job has its own directory, or add --run for a single run"
            )


def _keys(config: Path) -> Collection[Any]:
    """Return the top-level keys of the config; refuse what Hydra would only show a trace of.

    Raises:
        TrainctlError: it cannot be read, or has half an interpolation in a command.
    """
    from trainctl.commands.template import pieces  # other commands need none of it

    try:
        text = config.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TrainctlError(f"{config} is not UTF-8 text") from error
    except OSError as error:
        raise TrainctlError(f"{config} cannot be read: {error.strerror}") from error
    content = read_document(text, lambda reason: TrainctlError(f"{config}: {reason}"), aliases=True)
    commands = content.get("commands") if isinstance(content, dict) else None
    for name, line in commands.items() if isinstance(commands, dict) else ():
        pieces(str(line), f"commands.{name}")
    return content.keys() if isinstance(content, dict) else ()


def _apart(arguments: Sequence[str], own: Collection[Any]) -> tuple[list[str], list[str]]:
    """Tell Hydra's flags, with their values, from overrides: its parser wants all overrides together, after the flags.

    Raises:
        TrainctlError: one is neither.
    """
    flags: list[str] = []
    overrides: list[str] = []
    before = ""
    for argument in arguments:
        is_override = "=" in argument or argument.startswith("~")
        if argument.startswith("-") or before in _WITH_VALUE or (before in _PERHAPS_WITH_VALUE and not is_override):
            flags.append(argument)
        elif is_override:
            overrides.append(_long(argument, own))
        else:
            raise TrainctlError(f"{argument!r} is neither an option nor an override; overrides are KEY=VALUE or ~KEY")
        before = argument
    return flags, overrides


def _long(argument: str, own: Collection[Any]) -> str:
    """Return an override with the full name of its key; a key of the config's own is its own."""
    short = _SHORT_OVERRIDE.fullmatch(argument)
    if short is None or short[1] in own:
        return argument
    if short[1] == "only" and _NAMES.fullmatch(short[2]):
        return _only(short[2].split(","))
    return f"{_SHORT[short[1]]}={short[2]}"


def _only(names: Sequence[str]) -> str:
    return f"{_SHORT['only']}=[{','.join(quoted(name.strip()) for name in names)}]"
