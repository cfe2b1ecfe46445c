from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from made import Cli, assert_refused

from trainctl.config.changelog import Changelog, Edit, dumps
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir

BASE = {"optim": {"lr": 0.1, "betas": [0.9]}, "n": 1, "trainctl": {"seed": 3}}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    edits = [Edit(5, {"optim.lr": 0.05}), Edit(9, {"optim.lr": 0.01})]
    logs = {"one": Changelog(BASE, edits), "two": Changelog({**BASE, "n": 1.0, "extra": "x", "trainctl": {}}, [])}
    for name, log in logs.items():
        run = RunDir.at(tmp_path / "outputs" / name)
        run.create()
        files.write_yaml(run.run, {"name": name})
        run.changelog.write_text(dumps(log))
    return tmp_path


def test_values_that_differ_stand_side_by_side(cli: Cli, runs: Path) -> None:
    lines = [line.split() for line in cli("diff", "one", "two").stdout.splitlines()]
    assert lines == [
        ["key", "outputs/one", "outputs/two"],
        ["extra", "(not", "there)", "x"],
        ["n", "1", "1.0"],
        ["optim.lr", "0.01", "0.1"],
    ]


def test_one_run_differs_from_itself_at_an_earlier_step(cli: Cli, runs: Path) -> None:
    answer = cli("diff", "one@5", "outputs/one", "--json")
    assert json.loads(answer.stdout) == [{"key": "optim.lr", "one": 0.05, "other": 0.01}]
    assert cli("diff", "one@9", "one").stdout == "no value differs\n"
    assert json.loads(cli("diff", "one@0", "two", "--json").stdout) == [
        {"key": "extra", "other": "x"},
        {"key": "n", "one": 1, "other": 1.0},
    ]


def test_run_whose_name_looks_like_a_step_is_found(cli: Cli, runs: Path) -> None:
    os.rename(runs / "outputs/two", runs / "outputs/one@5")
    assert "optim.lr" in cli("diff", "outputs/one", "outputs/one@5").stdout
    assert "extra" in cli("diff", "outputs/one", "outputs/one@5").stdout


def test_what_cannot_be_compared_is_refused(cli: Cli, runs: Path) -> None:
    assert_refused(cli("diff", "one", "three@4"), "there is no run 'three'")
    (runs / "outputs/two/changelog.yaml").unlink()
    assert_refused(
        cli("diff", "one", "two"), "outputs/two has no changelog.yaml: its script has not called trainctl.live"
    )
