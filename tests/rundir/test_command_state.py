"""What a row of a table says of a pipeline's commands: what is true of them, whatever their file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import CommandState, State, Status, command_states, format_time, telling
from trainctl.rundir.summary import summarize

AT = 1_700_000_000.0


def record(state: str, began: float, ended: float | None = None, **more: Any) -> dict[str, Any]:
    times = {"started": format_time(AT + began), **({} if ended is None else {"ended": format_time(AT + ended)})}
    return {"state": state, **times, **more}


def said(state: State, **status: Any) -> list[str]:
    commands = {
        "train": record("done", 0, 312, exit_code=0),
        "avg": record("failed", 312, 313, exit_code=137, signal="SIGKILL"),
        "bleu": record("failed", 313, 313.5, exit_code=2),
        "test": record("running", 400),
        "report": {"state": "queued"},
    }
    return [str(each) for each in command_states(Status(state, commands=commands, **status), state, AT + 442)]


def test_commands_are_told_in_their_order_with_how_they_ended_and_how_long_they_took() -> None:
    assert said("running") == [
        "train done 5 min 12 s", "avg failed (SIGKILL) 1.0 s", "bleu failed (2) 0.5 s",
        "test running 42 s", "report queued",
    ]  # fmt: skip


def test_no_command_runs_when_its_run_does_not() -> None:
    assert said("interrupted")[3] == "test interrupted"  # nobody knows until when it ran
    assert said("timeout", ended=AT + 460)[3] == "test interrupted 1 min"


@pytest.mark.parametrize("commands", ["", [], {}, None, {"a": "text"}])
def test_foreign_records_are_no_commands(tmp_path: Path, commands: Any) -> None:
    run = RunDir.at(tmp_path)
    files.write_yaml(run.status, {"state": "done", "commands": commands})
    assert summarize(run).commands == []


def test_record_without_words_is_told_all_the_same(tmp_path: Path) -> None:
    run = RunDir.at(tmp_path)
    files.write_yaml(run.status, {"state": "done", "commands": {1: {"state": 2, "exit_code": "x", "started": "y"}}})
    (command,) = summarize(run).commands
    assert (str(command), command.exit_code, command.duration_s) == ("1 unreadable", None, None)


@pytest.mark.parametrize(
    ("state", "commands", "told"),
    [
        ("running", "done running queued", 1),
        ("running", "failed running queued", 1),  # tried again, or another one alone
        ("running", "done done queued", 1),  # the third is about to begin
        ("failed", "done failed queued", 1),
        ("interrupted", "done interrupted queued", 1),
        ("done", "failed done done", 0),
        ("done", "done done outdated", 1),
        ("failed", "done done queued", None),  # what went wrong was no command
        ("queued", "queued queued queued", None),
        ("running", "", None),
    ],
)
def test_command_that_tells_most_of_a_run(state: State, commands: str, told: int | None) -> None:
    made = [CommandState(str(place), word, None, None, None) for place, word in enumerate(commands.split())]
    assert telling(made, state) is (None if told is None else made[told])
