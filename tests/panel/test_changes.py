"""The table of edits: the changelog is the truth, the requests say who, why, and what was refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainctl.config.changelog import Changelog, Edit
from trainctl.panel.changes import MAX_ROWS, Line, applied, open_requests, table
from trainctl.panel.runview import Row, RunView
from trainctl.run.events import Event
from trainctl.run.rundir import RunDir
from trainctl.run.summary import summarize


@pytest.fixture
def row(tmp_path: Path) -> Row:
    return Row(summarize(RunDir.at(tmp_path)), None)


def test_applied_lines_follow_the_changelog_with_the_value_before(row: Row) -> None:
    log = Changelog(
        {"optim": {"lr": 0.1}, "n": 1}, [Edit(3, {"optim.lr": 0.2}), Edit(5, {"optim.lr": 0.3, "n": 2}, note="hand")]
    )
    told = [
        Event("a", "pending", None, {"optim.lr": "0.2"}),
        Event("a", "applied", 3, {"optim.lr": 0.2}, "me", "cli", "x"),
    ]
    lines = applied(RunView(row, changelog=log, events=told))
    assert lines == [
        Line(3, "optim.lr", "0.1", "0.2", "applied", "cli me", "x", told[-1].t),
        Line(5, "optim.lr", "0.2", "0.3", "applied", note="hand"),
        Line(5, "n", "1", "2", "applied", note="hand"),
    ]


def test_refused_and_waiting_requests_are_lines_too(row: Row) -> None:
    told = [
        Event("a", "rejected", None, {"lr": "nan"}, "me", "panel", "why", "not finite"),
        Event("b", "pending", None, {"lr": "0.2"}, "me", "panel"),
    ]
    lines = open_requests(RunView(row, events=told))
    assert [(line.key, line.new, line.status, line.note) for line in lines] == [
        ("lr", "nan", "rejected", "why: not finite"),
        ("lr", "0.2", "waiting", ""),
    ]


def test_table_escapes_everything_that_comes_from_files(row: Row) -> None:
    bad = "<script>alert(1)</script>"
    log = Changelog({bad: bad}, [Edit(1, {bad: bad}, note=bad)])
    told = [Event("a", "rejected", None, {bad: bad}, bad, bad, bad, bad)]
    text = table(RunView(row, changelog=log, events=told))
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 8


def test_table_of_many_edits_shows_the_latest(row: Row) -> None:
    log = Changelog({"n": 0}, [Edit(step, {"n": step}) for step in range(1, MAX_ROWS + 11)])
    text = table(RunView(row, changelog=log))
    assert text.count("<tr>") == MAX_ROWS + 1
    assert f">{MAX_ROWS + 10}<" in text
    assert "10 earlier ones are in changelog.yaml" in text


def test_table_without_edits_says_so(row: Row) -> None:
    assert "No edits." in table(RunView(row, changelog=Changelog({})))
