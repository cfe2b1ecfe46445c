"""The total of a training's loops: right, or not claimed."""

from __future__ import annotations

from typing import Any

import pytest
from session_fixtures import EndRun, OpenLive

from trainctl.rundir.pace import read_progress
from trainctl.rundir.paths import RunDir
from trainctl.session.live import Live
from trainctl.session.loops import Loop

EPOCHS, BATCHES = 4, 5


def test_total_is_known_while_the_step_of_the_next_item_waits() -> None:
    loop = Loop(0, 20)
    loop.begin_item(1)
    loop.begin_item(2)
    assert loop.last_step(3) == 20  # paused there, say
    assert loop.last_step(4) is None  # an item takes more steps than those before


def seen(session: Live, totals: list[tuple[int, int | None]]) -> None:
    """Note step and total as they are shown now."""
    step, total, _ = session._where()
    assert total is None or step <= total
    totals.append((step, total))


def flat(session: Live, totals: list[Any]) -> None:
    for _ in session.track(range(20)):
        seen(session, totals)


def flat_with_epochs(session: Live, totals: list[Any]) -> None:
    for item in session.track(range(20)):
        if item % BATCHES == 0:
            session.epoch()
        seen(session, totals)


def loop_for_each_epoch(session: Live, totals: list[Any]) -> None:
    for _ in range(EPOCHS):
        session.epoch()
        for _ in session.track(range(BATCHES)):
            seen(session, totals)


def silent_loop_for_each_epoch(session: Live, totals: list[Any]) -> None:
    for _ in range(EPOCHS):
        for _ in session.track(range(BATCHES)):
            seen(session, totals)


def epochs_are_steps(session: Live, totals: list[Any]) -> None:
    for _ in session.track(range(EPOCHS)):
        session.epoch()
        for _ in range(BATCHES):
            seen(session, totals)


def outer_and_inner(session: Live, totals: list[Any]) -> None:
    for _ in session.track(range(EPOCHS)):
        session.epoch()
        for _ in session.track(range(BATCHES)):
            seen(session, totals)


def outer_and_inner_steps(session: Live, totals: list[Any]) -> None:
    for _ in session.track(range(EPOCHS)):
        for _ in range(BATCHES):
            session.step()
            seen(session, totals)


def outer_and_two_inner(session: Live, totals: list[Any]) -> None:
    for _ in session.track(range(EPOCHS)):
        for _ in session.track(range(BATCHES)):
            seen(session, totals)
        for _ in session.track(range(2)):
            seen(session, totals)


def uneven_epochs(session: Live, totals: list[Any]) -> None:
    for epoch in session.track(range(EPOCHS)):
        for _ in session.track(range(BATCHES + epoch)):
            seen(session, totals)


def told(session: Live, totals: list[Any]) -> None:
    session.total = EPOCHS * BATCHES
    for _ in range(EPOCHS):
        session.epoch()
        for _ in session.track(range(BATCHES)):
            seen(session, totals)


def told_too_little(session: Live, totals: list[Any]) -> None:
    session.total = 7
    for _ in range(12):
        session.step()
        seen(session, totals)


def steps_after_the_loop(session: Live, totals: list[Any]) -> None:
    flat(session, totals)
    session.step()
    seen(session, totals)


def left_early(session: Live, totals: list[Any]) -> None:
    for _ in range(EPOCHS):
        for item in session.track(range(BATCHES)):
            seen(session, totals)
            if item == 2:
                break


@pytest.mark.parametrize(
    ("loop", "steps", "true"),
    [
        (flat, 20, {20}),
        (flat_with_epochs, 20, {20}),
        (loop_for_each_epoch, 20, {None}),
        (silent_loop_for_each_epoch, 20, {BATCHES, None}),  # of the first one nobody knows that more follow
        (epochs_are_steps, EPOCHS, {EPOCHS}),
        (outer_and_inner, 24, {None, 24}),
        (outer_and_inner_steps, 24, {None, 24}),
        (outer_and_two_inner, 32, {None, 32}),
        (uneven_epochs, 30, None),
        (told, 20, {20}),
        (told_too_little, 12, {7, None}),
        (steps_after_the_loop, 21, {20, None}),
        (left_early, 12, {BATCHES, None}),
    ],
)
def test_total_of_a_loop_is_right_or_not_claimed(
    open_live: OpenLive, run: RunDir, end_run: EndRun, loop: Any, steps: int, true: set[int | None] | None
) -> None:
    session = open_live(n=1)
    totals: list[tuple[int, int | None]] = []
    loop(session, totals)
    assert totals[-1][0] == session.step_number == steps
    if true is not None:
        assert {total for _, total in totals} == true
    last = totals[-1][1]
    end_run()
    assert (read_progress(run).step, read_progress(run).total) == (steps, last)


def test_second_loop_of_epochs_claims_nothing_from_its_first_step_on(open_live: OpenLive) -> None:
    session = open_live(n=1)
    totals: list[Any] = []
    silent_loop_for_each_epoch(session, totals)
    assert [total for step, total in totals if step > BATCHES] == [None] * (EPOCHS - 1) * BATCHES


def test_total_of_nested_loops_is_known_once_an_epoch_is_over(open_live: OpenLive) -> None:
    session = open_live(n=1)
    totals: list[Any] = []
    outer_and_inner(session, totals)
    assert [total for _, total in totals] == [None] * BATCHES + [24] * (EPOCHS - 1) * BATCHES


def test_resumed_loop_counts_on(open_live: OpenLive) -> None:
    session = open_live(n=1)
    session.resume(100)
    totals: list[Any] = []
    for _ in session.track(range(100, 120)):
        seen(session, totals)
    assert totals == [(step, 120) for step in range(101, 121)]
