"""The table of edits: the changelog is the truth, the requests say who, why, and what was refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from trainctl.config.changelog import Changelog, Edit
from trainctl.config.controls import Key
from trainctl.panel.data.run_view import Ahead, RunRow, RunView
from trainctl.panel.widgets.edits import MAX_ROWS, ChangeTable, EditRow, applied, lines_of, open_requests, table
from trainctl.rundir.events import Event
from trainctl.rundir.paths import RunDir
from trainctl.rundir.summary import summarize


@pytest.fixture
def row(tmp_path: Path) -> RunRow:
    return RunRow(summarize(RunDir.at(tmp_path)), None)


def test_applied_lines_follow_the_changelog_with_the_value_before(row: RunRow) -> None:
    log = Changelog(
        {"optim": {"lr": 0.1}, "n": 1}, [Edit(3, {"optim.lr": 0.2}), Edit(5, {"optim.lr": 0.3, "n": 2}, note="hand")]
    )
    told = [
        Event("a", "pending", None, {"optim.lr": "0.2"}),
        Event("a", "applied", 3, {"optim.lr": 0.2}, "me", "cli", "x"),
    ]
    lines = applied(RunView(row, changelog=log, events=told))
    assert lines == [
        EditRow(3, "optim.lr", "0.1", "0.2", "applied", "cli me", "x", told[-1].t, 2),
        EditRow(5, "optim.lr", "0.2", "0.3", "applied", note="hand", number=1),
        EditRow(5, "n", "1", "2", "applied", note="hand"),
    ]


def test_an_edit_that_nobody_has_read_is_marked(row: RunRow) -> None:
    log = Changelog({"n": 1, "m": 1}, [Edit(3, {"n": 2}), Edit(5, {"m": 2})])
    told = [
        *(Event("a", "applied", 3, {"n": 2}), Event("b", "applied", 5, {"m": 2}, note="<b>")),
        *(Event("a", "read", 3, read={"n": 4}), Event("b", "read", 5, read={"m": None}, watched=20)),
    ]
    view = RunView(row, changelog=log, events=told)
    read, unread = applied(view)
    assert (read.status, read.note) == ("applied", "")
    assert unread.status == "applied, not read"
    assert unread.note.startswith("<b>: not read within 20 steps: what was built before does not follow")
    assert [(each["cells"][5], each["is_unread"]) for each in table(lines_of(view))] == [
        ("applied, not read", True), ("applied", False)
    ]  # fmt: skip


def test_what_the_loop_was_asked_for_is_marked_until_it_is_done(row: RunRow) -> None:
    asked = [Event(name, "applied", 3, action="stop", reason="the loop has not looked") for name in "abc"]
    told = [
        Event("b", "done", reason="there is no such thing", settled=True), Event("c", "done", done=5, settled=True)
    ]  # fmt: skip
    lines = open_requests(RunView(row, events=[*asked, *told]))
    assert [(line.status, line.note) for line in lines] == [
        ("asked", "the loop has not looked"), ("asked", "there is no such thing"), ("done", "")
    ]  # fmt: skip
    assert [each["is_unread"] for each in table(lines)] == [True, True, False]


def test_refused_and_waiting_requests_are_lines_too(row: RunRow) -> None:
    told = [
        Event("a", "rejected", None, {"lr": "nan"}, "me", "panel", "why", "not finite"),
        Event("b", "pending", None, {"lr": "0.2"}, "me", "panel"),
    ]
    lines = open_requests(RunView(row, events=told))
    assert [(line.key, line.new, line.status, line.note) for line in lines] == [
        ("lr", "nan", "rejected", "why: not finite"),
        ("lr", "0.2", "waiting", ""),
    ]


def test_table_holds_text_and_offers_undo_once_per_edit(row: RunRow) -> None:
    log = Changelog({"a": 1, "b": 1}, [Edit(1, {"a": 2, "b": 3}), Edit(2, {"a": 4})])
    rows = table(lines_of(RunView(row, changelog=log)), may_undo=True)
    assert [each["cells"][1] for each in rows] == ["a", "b", "a"]
    assert [each["take"] and each["take"]["label"] for each in rows] == ["undo edit 2", None, "undo edit 1"]
    assert not any(each["take"] for each in table(lines_of(RunView(row, changelog=log)), may_ask=True))


def test_button_takes_back_what_it_stood_beside_though_rows_have_come_since(row: RunRow) -> None:
    running = dataclasses.replace(row, summary=dataclasses.replace(row.summary, state="running"))
    told = [Event("late", "pending", edits={"lr": "0.2"}, at=5000)]
    log = Changelog({"a": 1}, [Edit(1, {"a": 2})])
    taken: list[EditRow] = []
    shown = ChangeTable(taken.append)
    shown.follow(RunView(running, changelog=log, events=told), may_undo=True, may_ask=True)
    tokens = [each["take"]["token"] for each in shown._table.rows]
    more = Changelog({"a": 1}, [Edit(1, {"a": 2}), Edit(2, {"a": 3})])
    shown.follow(RunView(running, changelog=more, events=[]), may_undo=True, may_ask=True)
    for said in (*({"token": token} for token in tokens), {"token": "edit 7"}, {"token": 1}, "edit 1", None):
        shown._pressed(said)
    assert [(line.waiting, line.number) for line in taken] == [((1, "late"), None), (None, 1)]


def test_what_waits_is_listed_with_what_it_waits_for_and_offers_to_cancel(row: RunRow) -> None:
    running = dataclasses.replace(row, summary=dataclasses.replace(row.summary, state="running"))
    told = [
        Event("a", "pending", edits={"lr": "0.2", "wd": "0"}, at=5000),
        Event("b", "pending", edits={"batch": "16"}),
        Event("c", "pending", edits={"lr": "7"}, at=100),
        Event("d", "pending", cancel="c"),
        Event("c", "rejected", edits={"lr": "7"}, at=100, reason="cancelled by me: too late"),
        Event("d", "applied", step=7, cancel="c"),
    ]
    view = RunView(running, keys={"batch": Key("int", when="epoch")}, events=told)
    rows = {(line.key, line.new): (line.status, line.waiting, line.note) for line in lines_of(view)}
    assert rows == {
        ("lr", "0.2"): ("waiting for step 5,000", (1, "a"), ""),
        ("wd", "0"): ("waiting for step 5,000", None, ""),
        ("batch", "16"): ("waiting for the next epoch", (2, "b"), ""),
        ("lr", "7"): ("cancelled", None, "cancelled by me: too late"),
    }
    offered = [each["take"]["label"] for each in table(lines_of(view), may_ask=True) if each["take"]]
    assert sorted(offered) == ["cancel request 1", "cancel request 2"]
    assert not any(each["take"] for each in table(lines_of(view), may_undo=True))


def test_table_of_many_edits_shows_the_latest(row: RunRow) -> None:
    log = Changelog({"n": 0}, [Edit(step, {"n": step}) for step in range(1, MAX_ROWS + 11)])
    lines = lines_of(RunView(row, changelog=log))
    assert len(lines) == MAX_ROWS
    assert lines[0].step == MAX_ROWS + 10


def test_replayed_edits_ahead_come_first(row: RunRow) -> None:
    coming = [Ahead(5, {"lr": 0.1}, "outputs/a"), Ahead(9, {"lr": 0.2}, "outputs/a")]
    lines = lines_of(RunView(row, changelog=Changelog({"lr": 1.0}, [Edit(1, {"lr": 0.5})]), ahead=coming))
    assert [(line.step, line.new, line.status) for line in lines] == [
        (9, "0.2", "ahead"),
        (5, "0.1", "ahead"),
        (1, "0.5", "applied"),
    ]
