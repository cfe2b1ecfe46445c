"""Searching again finds what a search from nothing finds, and lists only what has changed."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from made_sweep import make_run

from trainctl.cli.runs import tell_left_out
from trainctl.examine import examiner
from trainctl.panel.data import run_view
from trainctl.panel.data.run_view import RunFiles
from trainctl.panel.data.watcher import Search
from trainctl.rundir import paths
from trainctl.rundir.paths import find_runs
from trainctl.rundir.status import Status, write_status


def let_settle(root: Path) -> None:
    """Make all directories look as if they had not changed for a minute."""
    for folder, _, _ in os.walk(root):
        os.utime(folder, (time.time() - 60, time.time() - 60))


def test_search_finds_what_find_runs_finds_after_every_change(tmp_path: Path) -> None:
    root = tmp_path / "root"
    again = Search(root)
    assert again.runs() == find_runs(root) == []
    (root / ".hidden").mkdir(parents=True)
    make_run(root, "b", [])
    make_run(root / "deep" / "er", "c", [])
    (root / "later").mkdir()
    make_run(root / "link_target", "x", [])
    (root / "link").symlink_to(root / "link_target")
    (root / "1" / "2" / "3" / "4" / "5").mkdir(parents=True)
    for change in (
        lambda: make_run(root, "a", []),
        lambda: make_run(root, "later", []),
        lambda: make_run(root / "deep" / "er", "d", []),
        lambda: make_run(root / "1" / "2" / "3", "4", []),
        lambda: shutil.rmtree(root / "b"),
        lambda: shutil.rmtree(root / "deep"),
    ):
        let_settle(root)
        again.runs()
        change()
        assert again.runs() == find_runs(root)
        assert again.runs() == find_runs(root)


def test_directory_that_is_as_it_was_is_not_listed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        make_run(tmp_path / "sub", name, [])
    let_settle(tmp_path)
    again = Search(tmp_path)
    first = again.runs()
    listed: list[str] = []
    monkeypatch.setattr(paths, "directories_in", listed.append)
    assert again.runs() == first
    assert listed == []


def test_run_that_has_ended_is_looked_at_by_its_directory_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path, "a", [])
    let_settle(tmp_path)
    known = RunFiles(run)
    first = known.row()
    read: list[object] = []
    real = run_view.signature
    with monkeypatch.context() as patched:
        patched.setattr(run_view, "signature", lambda *paths: read.append(paths) or real(*paths))
        assert all(known.row() is first for _ in range(run_view.LOOKS))
        assert len(read) == 1  # its turn to be looked at in full
    write_status(run, Status.running_here(attempt=2, slot="0").end("failed", reason="another attempt"))
    assert known.row().summary.reason == "another attempt"


def test_file_that_grows_is_noticed_though_its_directory_does_not_change(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a", [])
    let_settle(tmp_path)
    known = RunFiles(run)
    known.row()
    with run.metrics.open("a") as file:
        file.write('{"step": 101, "loss": 7.0}\n')
    assert any(known.row().summary.metrics["loss"] == 7.0 for _ in range(20))


def test_runs_are_found_at_any_depth(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["logs", "train", "multiruns", "2026", "11", "29", "12-00-00", "optim", "lr"])
    run = make_run(deep, "0", [])
    assert find_runs(tmp_path) == Search(tmp_path).runs() == examiner.find(tmp_path).runs == [run]


def test_search_of_many_foreign_directories_ends_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "MOST_DIRS", 50)
    near = make_run(tmp_path / "outputs" / "train", "a", [])
    for number in range(40):
        (tmp_path / "data" / f"{number:02}" / "images").mkdir(parents=True)
    far = make_run(tmp_path / "data" / "39" / "images", "far", [])
    found = paths.search(tmp_path, paths.list_at)
    assert found.runs == [near]
    assert len(found.beyond) > 10
    assert tmp_path / "data" / "39" / "images" in found.beyond
    tell_left_out(found)
    assert "and did not search" in capsys.readouterr().err
    again = Search(tmp_path)
    assert again.runs() == [near]
    assert again.passed_over == found.beyond
    assert find_runs(tmp_path / "data" / "39") == [far]


def test_runs_do_not_count_as_foreign_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MOST_DIRS", 5)
    made = [make_run(tmp_path / "sweep", f"{number:02}", []) for number in range(20)]
    for number in range(4):
        (tmp_path / "sweep" / f"a{number}").mkdir()
    assert find_runs(tmp_path) == made
