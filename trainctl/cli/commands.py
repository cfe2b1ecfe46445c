"""`trainctl run`: command pipelines, as a Hydra app of ours that takes its place."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from trainctl.config.override import quoted
from trainctl.errors import TrainctlError
from trainctl.run import files

# what may be said of a pipeline in short, as an override: `only=[avg]`
_SHORT = {
    "only": "trainctl.run.only",
    "force": "trainctl.run.force",
    "flags": "trainctl.run.flags",
    "dry_run": "hydra.launcher.dry_run",
}
_SHORT_OVERRIDE = re.compile(rf"({'|'.join(_SHORT)})=(.*)", re.DOTALL)
_LISTING = "++hydra.callbacks.trainctl_commands._target_=trainctl.commands.listing.Listing"

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def run(
    context: typer.Context,
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="The config with the commands.")],
    only: Annotated[str | None, typer.Option(metavar="NAMES", help="Only these commands: avg,test.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List jobs and commands, and run nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run commands again that are finished.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Only the first job; show what commands print.")] = False,
) -> None:
    """Run shell commands for every job of a sweep; all else is Hydra's: -m, overrides, hydra.launcher.slots=[0,1].

    A second run of the same command finishes what is not finished.
    """
    if not config.is_file():
        raise TrainctlError(f"there is no file {str(config)!r}")
    if config.suffix != ".yaml":
        raise TrainctlError(f"{str(config)!r} must be called *.yaml, as Hydra wants its configs")
    # Hydra's own parser wants all overrides together, after its flags and their values
    own = files.read_mapping(config).keys()
    overrides = [_long(argument, own) for argument in context.args if _is_override(argument)]
    flags = [argument for argument in context.args if not _is_override(argument)]
    settings = [
        *([f"trainctl.run.only=[{','.join(map(quoted, only.split(',')))}]"] if only else []),
        *(["trainctl.run.force=true"] if force else []),
        *(["hydra.launcher.dry_run=true"] if dry_run else []),
        *(["trainctl.run.debug=true", "hydra.launcher.first=1", "hydra.launcher.progress=plain"] if debug else []),
    ]
    place = ["--config-path", str(config.parent.absolute()), "--config-name", config.stem]
    if not {"-m", "--multirun"} & set(flags):
        flags.append("--multirun")
    name = [f"hydra.job.name={quoted(config.stem)}"]
    command = [sys.executable, "-m", "trainctl.commands", *place, *flags, *name, _LISTING, *settings, *overrides]
    sys.stdout.flush()
    # in our place: the app gets the signals, and its exit code is that of this command
    os.execv(command[0], command)


def _is_override(argument: str) -> bool:
    return not argument.startswith("-") and ("=" in argument or argument.startswith("~"))


def _long(argument: str, own: Collection[Any]) -> str:
    """Return an override with the full name of its key; a key of the config's own is its own."""
    short = _SHORT_OVERRIDE.fullmatch(argument)
    return argument if short is None or short[1] in own else f"{_SHORT[short[1]]}={short[2]}"
