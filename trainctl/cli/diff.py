"""`trainctl diff`: the values in which two runs differ, at any step of each."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from trainctl.cli import terminal
from trainctl.cli.place import JsonOption, find_run, shown
from trainctl.cli.terminal import Column, print_grid
from trainctl.config import yaml
from trainctl.config.keys import leaves
from trainctl.config.masking import Masking
from trainctl.config.values import differing_keys
from trainctl.errors import RunDirError
from trainctl.rundir.edits import read_changelog
from trainctl.rundir.masked import masking_of
from trainctl.rundir.paths import RunDir

_AT = re.compile(r"(?P<run>.+)@(?P<step>[0-9]{1,18})", re.DOTALL)
_NOT_THERE = "(not there)"

Side = Annotated[str, typer.Argument(metavar="RUN[@STEP]", help="A run after its last edit, or at a step.")]


def diff(one: Side, other: Side, as_json: JsonOption = False) -> None:
    """Show the values in which two runs differ, or one run at two steps. Settings of trainctl do not count."""
    left_name, left, hidden = _config(one)
    right_name, right, also_hidden = _config(other)
    differing = differing_keys(left, right)
    before, after = (
        {key: hidden.value(key, also_hidden.value(key, value)) for key, value in leaves(side).items()}
        for side in (left, right)
    )
    if as_json:
        terminal.print_json([_record(key, before, after) for key in differing])
        return
    if not differing:
        terminal.print_line("no value differs")
        return
    print_grid(
        [
            Column("key", differing, least=12),
            Column(left_name, [_shown(key, before) for key in differing], rank=1, least=12),
            Column(right_name, [_shown(key, after) for key in differing], rank=2, least=12),
        ]
    )


def _config(text: str) -> tuple[str, dict[Any, Any], Masking]:
    """Return the name of a side, its config, and its masking.

    Raises:
        RunDirError: there is no such run, or it has no changelog.
        ChangelogError: its changelog is not one.
    """
    run, step = _side(text)
    log = read_changelog(run)
    if log is None:
        raise RunDirError(
            f"{shown(run)} has no changelog.yaml: its script has not called trainctl.live, or not got that far"
        )
    name = shown(run) if step is None else f"{shown(run)}@{step}"
    return name, log.at(log.last_step if step is None else step), masking_of(run, log)


def _side(text: str) -> tuple[RunDir, int | None]:
    match = _AT.fullmatch(text)
    if match is None or RunDir.at(text).is_run():  # a run dir may have such a name
        return find_run(text), None
    return find_run(match["run"]), int(match["step"])


def _record(key: str, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {"key": key}
    if key in before:
        record["one"] = before[key]
    if key in after:
        record["other"] = after[key]
    return record


def _shown(key: str, values: dict[str, Any]) -> str:
    return yaml.inline(values[key]) if key in values else _NOT_THERE
