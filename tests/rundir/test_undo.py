from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from omegaconf import OmegaConf
from session_fixtures import Answered, OpenLive

from trainctl.config.changelog import Changelog, Edit, loads
from trainctl.errors import EditError
from trainctl.rundir.edits import Applied, applied_edits, to_undo
from trainctl.rundir.events import Event
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir

Ask = Callable[..., Event]


def edits(*wanted: tuple[str, float, float, int | None]) -> list[Applied]:
    """Make edits of one key each, one per step: key, old and new value, which edit it undoes."""
    return [
        Applied(number, number * 10, {key: new}, {key: old}, undo=undone)
        for number, (key, old, new, undone) in enumerate(wanted, 1)
    ]


def test_last_edit_is_undone_step_by_step() -> None:
    applied = edits(("a", 1, 2, None), ("b", 1, 2, None))
    assert to_undo(applied, True).number == 2
    applied = edits(("a", 1, 2, None), ("b", 1, 2, None), ("b", 2, 1, 2))
    assert to_undo(applied, True).number == 1
    applied = edits(("a", 1, 2, None), ("b", 1, 2, None), ("b", 2, 1, 2), ("a", 2, 1, 1))
    with pytest.raises(EditError, match=r"^undo: no edit of this run is left to undo$"):
        to_undo(applied, True)


def test_undo_of_an_entry_that_was_added_takes_it_away() -> None:
    assert to_undo([Applied(1, 5, {"new": 1}, {})], True).before == {"new": "???"}
    nulled = Applied(2, 6, {"aug.p": 1}, {"aug": None})  # a section that was null before
    assert to_undo([nulled], 2).before == {"aug": None}


def test_undone_undo_leaves_the_edit_to_be_undone_again() -> None:
    applied = edits(("a", 1, 2, None), ("a", 2, 1, 1), ("a", 1, 2, 2))
    assert to_undo(applied, True).number == 1
    assert to_undo(applied, 1).before == {"a": 1}


@pytest.mark.parametrize(
    ("applied", "wanted", "reason"),
    [
        ([], 1, "^undo of edit 1: the run has no such edit; it has none"),
        (edits(("a", 1, 2, None)), 2, "^undo of edit 2: the run has no such edit; its edits are 1 to 1 .*trainctl log"),
        (edits(("a", 1, 2, None), ("a", 2, 1, 1)), 1, "^undo of edit 1: edit 2 has undone it already"),
        (
            edits(("a", 1, 2, None), ("a", 2, 3, None)),
            1,
            "^undo of edit 1: a was changed again, to 3 by edit 2 at step 20; undo that first, or ask again",
        ),
    ],
)
def test_undo_that_is_not_possible_says_why(applied: Sequence[Applied], wanted: int | bool, reason: str) -> None:
    with pytest.raises(EditError, match=reason):
        to_undo(applied, wanted)


def test_later_edit_that_is_undone_does_not_keep_an_earlier_one_from_being_undone() -> None:
    assert to_undo(edits(("a", 1, 2, None), ("a", 2, 3, None), ("a", 3, 2, 2)), 1).number == 1


def test_edit_that_comes_again_later_is_not_there_yet() -> None:
    applied = edits(("a", 1, 2, None), ("a", 2, 3, None))
    assert to_undo(applied, True, step=15).number == to_undo(applied, 1, step=15).number == 1
    with pytest.raises(EditError, match=r"^undo of edit 2: it comes again at step 20, and the run is at step 15$"):
        to_undo(applied, 2, step=15)


def test_undo_of_what_was_changed_again_is_forced() -> None:
    applied = edits(("a", 1, 2, None), ("a", 2, 3, None))
    assert to_undo(applied, 1, force=True).before == {"a": 1}


def test_edits_of_one_step_are_told_apart_by_their_events() -> None:
    changelog = Changelog({"a": 1, "b": 1}, [Edit(4, {"b": 0}), Edit(7, {"a": 3, "b": 2}), Edit(9, {"a": 4})])
    applied = applied_edits(
        changelog,
        [
            Event("x", "pending", edits={"a": "2"}),
            Event("y", "pending", edits={"a": "3", "b": "2"}),
            Event("x", "applying", 7, {"a": 2}, who="ada"),
            Event("y", "applying", 7, {"a": 3, "b": 2}, note="why"),
            Event("y", "applied", 7, {"a": 3, "b": 2}),
            Event("x", "applied", 7, {"a": 2}),  # its answer was written late
            Event("z", "applying", 9, {"a": 4}, undo=2),
            Event("gone", "applying", 9, {"b": 9}),  # killed before it was recorded
            Event("no", "rejected", edits={"a": "x"}, reason="no"),
            Event("act", "applied", 7, action="stop"),
        ],
    )
    assert [(one.number, one.step, one.values, one.before, one.who, one.note, one.undo) for one in applied] == [
        (1, 4, {"b": 0}, {"b": 1}, None, None, None),
        (2, 7, {"a": 2}, {"a": 1}, "ada", None, None),
        (3, 7, {"a": 3, "b": 2}, {"a": 2, "b": 0}, None, "why", None),
        (4, 9, {"a": 4}, {"a": 3}, None, None, 2),
    ]


def test_number_of_an_edit_does_not_change_when_one_is_made_at_an_earlier_step() -> None:
    first = [Event("x", "applied", 50, {"a": 2})]
    later = [*first, Event("y", "applied", 20, {"b": 2})]
    changelog = Changelog({"a": 1, "b": 1}, [Edit(20, {"b": 2}), Edit(50, {"a": 2})])
    assert [(one.number, one.step) for one in applied_edits(changelog, later)] == [(2, 20), (1, 50)]


@pytest.fixture
def ask(open_live: OpenLive, run: RunDir, answered: Answered) -> Ask:
    config = OmegaConf.create(
        {
            "lr": 0.1, "end": "${lr}", "sizes": ["${lr}", 2], "n": 1, "ids": {1: {2: 3}}, "trainctl": {
                "poll_s": 0.005, "controls": {"n": {"max": 5, "min": 2}},
            },
        }
    )  # fmt: skip
    session = open_live(config)

    def asked(**wanted: Any) -> Event:
        event = answered(session, file_request(run, wanted.pop("edits", {}), via="cli", **wanted))
        asked.config = session.config  # type: ignore[attr-defined]
        return event

    return asked


def test_undo_is_an_edit_with_the_old_values_and_is_undone_itself(ask: Ask, run: RunDir) -> None:
    ask(edits={"lr": "0.5", "ids.1.2": "4"}, note="try")
    undone = ask(undo=True, note="no good")
    assert (undone.state, undone.edits, undone.undo) == ("applied", {"lr": 0.1, "ids.1.2": 3}, 1)
    assert (ask.config.lr, ask.config.ids[1][2]) == (0.1, 3)  # type: ignore[attr-defined]
    assert "cli " in run.changelog.read_text()
    assert ": undo of edit 1: no good [edit 2 undoes 1: " in run.changelog.read_text()
    redone = ask(undo=2)
    assert (redone.edits, ask.config.lr) == ({"lr": 0.5, "ids.1.2": 4}, 0.5)  # type: ignore[attr-defined]
    assert loads(run.changelog.read_bytes()).at(10**9)["ids"] == {1: {2: 4}}


def test_undo_brings_a_reference_back_that_no_edit_could_set(ask: Ask, run: RunDir) -> None:
    ask(edits={"end": "3.0", "sizes": "[1]"})
    assert ask(edits={"end": "${lr}"}).state == "rejected"
    assert ask(undo=True).state == "applied"
    ask(edits={"lr": "0.25"})
    assert (ask.config.end, ask.config.sizes) == (0.25, [0.25, 2])  # type: ignore[attr-defined]
    assert loads(run.changelog.read_bytes()).edits[1].values == {"end": "${lr}", "sizes": ["${lr}", 2]}


def test_undo_may_go_back_out_of_the_bounds_to_what_the_run_started_with(ask: Ask) -> None:
    ask(edits={"n": "3"})
    assert ask(undo=1).edits == {"n": 1}


def test_undo_of_nothing_is_refused_and_told(ask: Ask) -> None:
    event = ask(undo=True)
    assert (event.state, event.undo, event.reason) == ("rejected", True, "undo: no edit of this run is left to undo")
