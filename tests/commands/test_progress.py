"""Which commands are finished, and what is kept of those that the config has no longer."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from trainctl.attempt.attempt import Attempt
from trainctl.commands.progress import LAUNCH, CommandRecord, is_finished, merged
from trainctl.errors import CommandError
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status

DONE = {"state": "done", "digest": "a", "launch": "this"}


def test_finished_is_what_ended_well_with_the_same_text() -> None:
    assert is_finished(DONE, "a")
    assert not is_finished(DONE, "b")
    assert not is_finished({**DONE, "state": "outdated"}, "a")
    assert not is_finished(None, "a")


def test_force_takes_only_what_was_done_in_this_launch_as_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAUNCH, "this")
    assert is_finished(DONE, "a", force=True)
    assert not is_finished({**DONE, "launch": "earlier"}, "a", force=True)
    monkeypatch.delenv(LAUNCH)
    assert not is_finished({"state": "done", "digest": "a"}, "a", force=True)


def test_names_of_the_config_and_of_the_record_are_merged_in_order() -> None:
    assert merged(["train", "test"], []) == ["train", "test"]
    assert merged(["test"], ["train", "avg", "test", "report"]) == ["train", "avg", "test", "report"]
    assert merged(["b", "a"], ["a", "x", "b"]) == ["b", "a", "x"]


def test_records_of_commands_that_are_taken_out_are_kept_and_outdated_by_earlier_ones(tmp_path: Path) -> None:
    attempt = Attempt.begin(RunDir.at(tmp_path / "run"), config=OmegaConf.create())
    first = CommandRecord(attempt, ["train", "avg", "test"])
    for name in ("train", "avg", "test"):
        first.start(name, f"{name}!", name, f"{name}.log")
        first.end(name, 0)
    later = CommandRecord(attempt, ["train"])
    assert {name: record["state"] for name, record in later.records.items()} == dict.fromkeys(first.records, "done")
    later.start("train", "train!", "other", "train.log")
    later.end("train", None)
    status = read_status(attempt.run)
    attempt.end("done")
    assert status is not None
    assert status.commands is not None
    states = {name: record["state"] for name, record in status.commands.items()}
    assert states == {"train": "failed", "avg": "outdated", "test": "outdated"}
    assert "exit_code" not in status.commands["train"]


def test_status_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    attempt = Attempt.begin(RunDir.at(tmp_path / "run"), config=OmegaConf.create())
    ledger = CommandRecord(attempt, ["train"])
    (tmp_path / "run").rename(tmp_path / "moved")
    with pytest.raises(CommandError, match=r"what the commands do cannot be written to .*status.yaml: No such file"):
        ledger.start("train", "train!", "a", "train.log")
    (tmp_path / "moved").rename(tmp_path / "run")
    attempt.end("failed")
