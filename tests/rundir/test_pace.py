"""Rate and time left: the time per step over the last steps, for steps of any length."""

from __future__ import annotations

import time

import pytest
from session_fixtures import OpenLive

from trainctl.launch.display.run_progress import Glance
from trainctl.rundir import files
from trainctl.rundir.lock import RunLock
from trainctl.rundir.pace import Pace, Progress, left_s, read_progress, write_progress
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, write_status
from trainctl.rundir.summary import summarize
from trainctl.session.io_thread import Position

LOOK_S = 0.05  # how often the session looks which step runs


@pytest.mark.parametrize("step_s", [0.001, 0.02, 0.3, 1.2, 3.5, 60.0, 600.0])
def test_rate_is_right_from_the_second_step_on(step_s: float) -> None:
    pace = Pace()
    looks = int(max(60 * step_s, 40) / LOOK_S) if step_s < 10 else 3000
    every = max(LOOK_S, step_s / 40)
    for look in range(looks):
        now = look * every
        step = int(now / step_s + 1e-9) + 1
        pace.note(step, now)
        assert (pace.rate is None) == (step == 1)
        if pace.rate is not None:
            assert 1 / pace.rate == pytest.approx(step_s, abs=(every + step_s) / max(1, min(step - 1, 10)))
            if step > 2:
                assert pace.rate == pytest.approx(1 / step_s, rel=0.2)
    assert pace.rate == pytest.approx(1 / step_s, rel=0.02)
    assert len(pace._marks) < 200


def test_rate_follows_a_change_of_pace_within_half_a_minute_or_ten_steps() -> None:
    pace = Pace()
    for tick in range(1000):
        pace.note(tick, tick * 0.1)
    for tick in range(301):
        pace.note(1000 + tick, 100.0 + tick * 1.0)
    assert pace.rate == pytest.approx(1.0, rel=0.05)
    for tick in range(12):
        pace.note(1301 + tick, 401.0 + tick * 100)
    assert pace.rate == pytest.approx(0.01, rel=0.05)


def test_pace_begins_anew_where_steps_go_back() -> None:
    pace = Pace()
    for step in (10, 11, 12):
        pace.note(step, float(step))
    pace.note(5, 100.0)
    assert pace.rate is None
    pace.note(6, 102.0)
    assert pace.rate == 0.5


def test_time_left_counts_the_rest_of_the_step_that_runs() -> None:
    assert left_s(1, 3, 1 / 600, 0.0) == pytest.approx(1800)
    assert left_s(3, 3, 1 / 600, 150.0) == pytest.approx(450)
    assert left_s(3, 3, 1 / 600, 900.0) == 0  # it takes longer than those before
    assert left_s(3, 3, 1 / 600) == 0
    for unknown in (left_s(1, None, 1.0), left_s(1, 3, None), left_s(1, 3, 0.0), left_s(1, 3, float("nan"))):
        assert unknown is None


@pytest.mark.parametrize("rate", [1 / 600, 0.286, 1000.0, 123456.7])
def test_slow_and_fast_rates_are_kept_with_their_digits(run: RunDir, rate: float) -> None:
    run.create()
    write_progress(run, Progress(2, 20, rate))
    assert read_progress(run).rate == pytest.approx(rate, rel=1e-5)


def test_progress_never_exceeds_its_total(run: RunDir) -> None:
    run.create()
    files.write_yaml(run.progress, {"step": 1068, "total": 50, "rate": 10.0})
    assert read_progress(run) == Progress(1068, None, 10.0)


def test_what_an_earlier_attempt_left_tells_no_speed(run: RunDir) -> None:
    run.create()
    lock = RunLock(run.lock)
    assert lock.acquire()
    files.write_yaml(run.progress, {"step": 800, "total": 1000, "rate": 12.0, "t": time.time() - 60})
    write_status(run, Status.running_here(attempt=2, slot=None))
    row = summarize(run)
    assert (row.step, row.rate, row.eta_s) == (800, None, None)
    lock.release()


@pytest.mark.slow
def test_all_displays_show_one_number(open_live: OpenLive, run: RunDir) -> None:
    """`trainctl ls` and the page take the summary, the terminal's live display its glance."""
    session = open_live(n=1)
    glance = Glance(run)
    began: list[float] = []
    for _ in session.track(range(40)):
        began.append(time.monotonic())
        time.sleep(0.15)
        if session.step_number == 25:
            break
    row = summarize(run)
    glance.look()
    found = glance.progress
    assert row.rate == found.rate
    assert row.eta_s == found.eta_s
    assert found.step is not None
    assert found.rate == pytest.approx((found.step - 1) / (began[found.step - 1] - began[0]), rel=0.1)
    assert found.eta_s == pytest.approx((41 - found.step) / found.rate, abs=1.1 / found.rate)


@pytest.mark.slow
def test_rate_counts_no_step_that_a_resume_or_a_rollback_passed_over(open_live: OpenLive, run: RunDir) -> None:
    session = open_live(n=1)
    for origin in (100_000, 500):
        session.resume(origin)
        began = time.monotonic()
        while time.monotonic() < began + 1.5:
            session.step()
            time.sleep(0.1)
        found = read_progress(run)
        assert found.step is not None
        assert origin < found.step < origin + 16
        assert found.rate is not None
        assert found.rate < 13  # ten, looked at every 50 ms


def test_rate_leaves_pauses_out(open_live: OpenLive) -> None:
    session = open_live(n=1)
    assert session._files is not None
    pump = session._files.pump
    for now, step, is_paused in [(0.0, 1, False), (2.0, 2, False), (4.0, 3, False), (6.0, 4, True), (90.0, 4, True)]:
        pump._note_pace(Position(step, None, is_paused), now)
    assert pump._pace.rate is None
    for now, step in [(100.0, 4), (102.0, 5)]:
        pump._note_pace(Position(step, None), now)
    assert pump._pace.rate == 0.5
