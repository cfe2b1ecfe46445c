"""What the server reads: only what is below the root, only what has changed."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from trainctl.config.changelog import Changelog, Edit, dumps
from trainctl.config.controls import Key
from trainctl.panel.data import run_view, watcher
from trainctl.panel.data.run_view import RunFiles, value_at
from trainctl.panel.data.watcher import PIECE, Search, Watcher
from trainctl.rundir import files
from trainctl.rundir.lock import RunLock
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, write_status


def make_run(path: Path, **config: Any) -> RunDir:
    """Write the files of a run that is done."""
    run = RunDir.at(path)
    run.create()
    keys = {key: Key("float").to_dict() for key in config}
    files.write_yaml(run.run, {"name": run.name, "packages": {"x": "1"}, "keys": keys})
    run.changelog.write_text(dumps(Changelog(config)))
    write_status(run, Status.running_here(attempt=1, slot="cpu").end("done", exit_code=0))
    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def watch(root: Path) -> Iterator[Watcher]:
    watching = Watcher(root)
    watching.start()
    yield watching
    watching.close()


def test_runs_are_named_by_their_path_below_the_root(root: Path) -> None:
    make_run(root / "a")
    make_run(root / "sub" / "b #%")
    assert list(Watcher(root).rows()) == ["a", "sub/b #%"]
    assert list(Watcher(root / "a").rows()) == ["a"]


def test_names_lead_nowhere_else(root: Path, tmp_path: Path) -> None:
    make_run(root / "a")
    outside = make_run(tmp_path / "outside", lr=1.0)
    (root / "link").symlink_to(outside.path)
    watching = Watcher(root)
    assert watching.view("a") is not None
    for name in ("../outside", str(outside.path), "link", "a/../../outside", ".", "", "a/", "a\0", "./a"):
        assert watching.view(name) is None


def test_view_holds_current_values_and_keys(root: Path) -> None:
    run = make_run(root / "a", lr=0.1)
    run.changelog.write_text(dumps(Changelog({"lr": 0.1}, [Edit(3, {"lr": 0.2})])))
    view = Watcher(root).view("a")
    assert view is not None
    assert view.values == {"lr": 0.2}
    assert view.keys == {"lr": Key("float")}
    assert not view.is_editable


def test_view_of_a_task_without_live_shows_its_config(root: Path) -> None:
    run = make_run(root / "a")
    run.changelog.unlink()
    run.config.parent.mkdir()
    run.config.write_text("optim: {lr: 1e-4}\n")
    view = Watcher(root).view("a")
    assert view is not None
    assert view.values == {"optim.lr": 0.0001}
    assert "has not called trainctl.live(cfg)" in str(view.problem)


def test_view_of_a_broken_changelog_says_what_is_wrong(root: Path) -> None:
    run = make_run(root / "a", lr=0.1)
    run.changelog.write_text("- 1\n")
    view = Watcher(root).view("a")
    assert view is not None
    assert "the values cannot be shown" in str(view.problem)
    assert "must be a mapping of steps" in str(view.problem)


def test_view_is_read_again_only_when_a_file_changed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(root / "a", lr=0.1)
    known = RunFiles(run)
    first = known.view()
    reads = []
    monkeypatch.setattr(run_view, "summarize", reads.append)
    assert known.view() is first
    assert reads == []
    monkeypatch.undo()
    files.append_lines(run.events, [{"id": "x", "state": "pending"}])
    second = known.view()
    assert second is not first
    assert second.row is first.row
    assert [event.id for event in second.events] == ["x"]


def test_run_that_was_killed_is_noticed_though_no_file_changes(root: Path) -> None:
    run = make_run(root / "a")
    lock = RunLock(run.lock)
    assert lock.acquire()
    write_status(run, Status.running_here(attempt=1, slot="cpu"))
    known = RunFiles(run)
    assert known.row().summary.state == "running"
    lock.release()
    assert known.row().summary.state == "interrupted"


def test_watcher_brings_what_changes_while_somebody_watches(root: Path, watch: Watcher) -> None:
    run = make_run(root / "a", lr=0.1)
    first = watch.view("a")
    with watch.watching("a"):
        run.changelog.write_text(dumps(Changelog({"lr": 0.1}, [Edit(1, {"lr": 0.5})])))
        wait_until(lambda: (view := watch.view("a")) is not None and view.values == {"lr": 0.5})
    assert watch.view("a") is not first


def test_watcher_finds_new_runs_while_a_table_is_open(
    root: Path, watch: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "ROWS_S", 0.01)
    monkeypatch.setattr(watcher, "SCAN_S", 0.01)
    assert watch.rows() == {}
    with watch.watching_rows():
        make_run(root / "new")
        wait_until(lambda: list(watch.rows()) == ["new"])


def test_watcher_reads_nothing_while_nobody_watches(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(root / "a")
    searches: list[float] = []
    search = Search.runs
    monkeypatch.setattr(Search, "runs", lambda self: searches.append(0) or search(self))
    monkeypatch.setattr(watcher, "LOOK_S", 0.001)
    monkeypatch.setattr(watcher, "ROWS_S", 0.0)
    monkeypatch.setattr(watcher, "SCAN_S", 0.0)
    idle = Watcher(root)
    idle.start()
    wait_until(lambda: searches)  # once, so that the first page need not wait
    idle.close()
    idle._thread.join(timeout=60)
    assert not idle._thread.is_alive()
    assert len(searches) == 1
    assert list(idle._rows) == ["a"]


def test_of_many_runs_that_have_ended_only_some_are_looked_at_each_second_but_all_when_a_page_opens(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = {f"ended{number}" for number in range(6)}
    for name in sorted(ended):
        make_run(root / name)
    running = make_run(root / "running")
    write_status(running, Status.running_here(attempt=1, slot="cpu"))
    lock = RunLock(running.lock)
    assert lock.acquire()
    looks: list[set[str]] = [set()]
    read = RunFiles.row

    def row(found: RunFiles) -> Any:
        looks[-1].add(found.run.name)
        if found.run.name == "running":  # the last by name
            looks.append(set())
        return read(found)

    monkeypatch.setattr(RunFiles, "row", row)
    for name, value in (("LOOK_S", 0.001), ("ROWS_S", 0.0), ("ENDED_EACH_LOOK", 2)):
        monkeypatch.setattr(watcher, name, value)
    watch = Watcher(root)
    watch.start()
    try:
        wait_until(lambda: len(watch.rows()) == 7)
        with watch.watching_rows():
            before = len(looks)
            wait_until(lambda: len(looks) > before + 6)
        turns = looks[before + 1 : before + 5]  # seven runs, two at a time
        assert all("running" in look and len(look & ended) <= 2 for look in turns)
        assert ended <= set().union(*turns)
        monkeypatch.setattr(watcher, "ENDED_EACH_LOOK", 1)
        monkeypatch.setattr(watcher, "ROWS_S", 3600.0)
        opened = len(looks) - 1
        monkeypatch.setattr(watch, "_listed", float("-inf"))
        watch.fresh_rows()
        wait_until(lambda: any(ended <= look for look in looks[opened:]))
    finally:
        watch.close()
        lock.release()


def test_value_at_passes_over_what_is_not_there() -> None:
    config = {"a": {1: {"b.c": 5}}, "empty": {}}
    assert value_at(config, r"a.1.b\.c") == 5
    assert value_at(config, "empty") == {}
    assert value_at(config, "a.2") is None
    assert value_at(config, "a.1.x.y") is None


def test_record_of_another_shape_is_no_record(tmp_path: Path) -> None:
    from trainctl.panel.server.state import PanelDir

    place = PanelDir(tmp_path)
    place.create()
    for text in ("", "[]", '{"url": 1}', "null", json.dumps({"x": 1})):
        place.record.write_text(text)
        assert place.read_record() is None
    os.unlink(place.record)
    assert place.read_record() is None


def test_first_look_at_many_runs_shows_them_as_they_are_read_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(120):
        (run := RunDir.at(tmp_path / f"r{at:03}")).create()
        files.write_yaml(run.run, {"name": run.name})
    read, go_on = RunFiles.row, threading.Event()

    def slow(found: RunFiles) -> Any:
        if found.run.name == "r060":
            assert go_on.wait(60)
        return read(found)

    monkeypatch.setattr(RunFiles, "row", slow)
    watcher = Watcher(tmp_path)
    watcher.start()
    try:
        with watcher.watching_rows():
            wait_until(lambda: len(watcher.rows()) == PIECE, "the first runs, while the others are not read")
            assert watcher.left == 120 - PIECE
            began = time.monotonic()
            assert len(watcher.fresh_rows()) == PIECE
            assert time.monotonic() - began < 30
            go_on.set()
            wait_until(lambda: len(watcher.rows()) == 120 and not watcher.left, "all runs")
    finally:
        go_on.set()
        watcher.close()
