"""The live display: fits every terminal, shows data as data, gives the terminal back, and never costs a sweep."""

from __future__ import annotations

import errno
import logging
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminals import Clock, Terminal, clock, make_display, started, tick

from trainctl.launch.display import live as display_module
from trainctl.launch.display.live import Display
from trainctl.launch.display.table import Sums, draw
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir

__all__ = ["clock"]  # a fixture


@given(
    slots=st.integers(0, 64),
    busy=st.integers(0, 64),
    width=st.integers(20, 200),
    height=st.integers(2, 60),
    name=st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=150),
)
def test_picture_fits_the_terminal(slots: int, busy: int, width: int, height: int, name: str) -> None:
    row = {"slot": "GPU-" + "1f" * 18, "job": "1000/1000", "run": name, "time": "12h05m", "step": "99999/100000"}
    row |= {"rate": "15.3k/s", "memory": "10.5/80 GiB", "metrics": "loss 0.123  accuracy 0.95"}
    rows = [row if number < busy else {"slot": "cpu", "run": "idle"} for number in range(slots)]
    lines = draw(rows, Sums(1000, 500, 40, 3), "2h05m", (width, height), {})
    assert len(lines) <= height - 1
    assert all(line.cell_len <= width for line in lines)
    assert "543/1000" in lines[-1].plain
    if slots > height - 3 > 1:
        assert re.match(r"\+ \d+ more", lines[-2].plain)


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (40, ["slot", "run", "time", "rate"]),
        (60, ["slot", "job", "run", "time", "step", "metrics"]),
        (80, ["slot", "job", "run", "time", "step", "rate", "metrics"]),
        (120, ["slot", "job", "run", "time", "step", "rate", "memory", "metrics"]),
    ],
)
def test_less_important_columns_give_way(width: int, columns: list[str]) -> None:
    row = {"slot": "0", "job": "3/40", "run": "Norm_new-Lr_0.1-Seed_12", "time": "3 min", "step": "8000/10000"}
    row |= {"rate": "15.3k/s", "memory": "10.5/80 GiB", "metrics": "loss 0.1234"}
    lines = draw([row], Sums(40, 2, 0, 0), "", (width, 24), {})
    assert lines[0].plain.split() == columns


def test_display_shows_what_each_slot_does(tmp_path: Path, clock: Clock) -> None:
    terminal = Terminal(100)
    report = make_display(terminal, sweep_dir=tmp_path, memory=lambda: {"cpu": (2048.0, 81920.0)})
    run = started(report, 0, tmp_path / "Norm_new" / "a")
    files.write_yaml(run.progress, {"step": 812, "total": 1000, "rate": 20.0})
    files.append_lines(run.metrics, [{"step": 812, "loss": 0.25, "t": 1.0}, {"step": 812, "name": "x"}])
    tick(report, clock, 72.0)
    heading, busy, idle, overall = terminal.screen.shown()[-4:]
    assert heading.split() == ["slot", "job", "run", "time", "step", "rate", "memory", "metrics"]
    assert " ".join(busy.split()) == "cpu 1/8 Norm_new/a 1 min 12 s 812/1000 20/s 2.0/80 GiB loss 0.25"
    assert idle.split() == ["cpu", "idle", "2.0/80", "GiB"]
    assert " ".join(overall.split()[1:]) == "0/8 ETA 4 min 50 s 8 left"
    report.no_more("interrupted: no new jobs")
    tick(report, clock)
    tick(report, clock)
    assert " ".join(terminal.screen.shown()[-1].split()[1:]) == "0/8 ETA 9.4 s 8 left", "of the job that runs"
    files.write_yaml(run.progress, {"step": 812, "total": 1000, "paused": True})
    tick(report, clock)
    assert "812/1000 paused 2.0/80 GiB" in " ".join(terminal.screen.shown()[-3].split())
    report.close()


def test_next_job_takes_the_line_of_one_whose_task_is_over(tmp_path: Path, clock: Clock) -> None:
    terminal = Terminal(100)
    report = make_display(terminal, sweep_dir=tmp_path)
    for number in range(4):
        started(report, number, tmp_path / str(number))
        tick(report, clock)
        if number > 0:
            report.done(number - 1, tmp_path / str(number - 1), 10.0)
        report.idle(number)
    tick(report, clock)
    _, one, other, overall = terminal.screen.shown()[-4:]
    assert one.split()[:2] == other.split()[:2] == ["cpu", "idle"]
    assert " ".join(overall.split()[1:]) == "3/8 ETA 25 s 3 done 5 left", "10 s each, five to go, two slots"
    report.close()


def test_lines_scroll_above_and_stay_when_the_display_is_closed(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    terminal = Terminal(height=10)
    report = make_display(terminal, total=20)
    for number in range(20):
        started(report, number, tmp_path / str(number))
        tick(report, clock)
        report.done(number, tmp_path / str(number), 12.5)
        tick(report, clock)
    assert "20/20" in terminal.screen.shown()[-1]
    assert "20 done" in terminal.screen.shown()[-1]
    report.close()
    report.close()
    report.sum_up(0, 99.0)
    *lines, last = terminal.screen.shown()
    assert [line.split()[0::2] for line in lines[:2]] == [["START", "0", "slot"], ["DONE", "0", "12"]]
    assert [line.split()[0] for line in lines] == ["START", "DONE"] * 20
    assert last == "20 jobs: 20 done (1 min 39 s)"
    assert terminal.screen.is_cursor_shown


def test_display_that_is_killed_leaves_the_cursor_visible(clock: Clock) -> None:
    terminal = Terminal()
    report = make_display(terminal)
    tick(report, clock)
    assert terminal.screen.is_cursor_shown
    report.close()


def test_values_with_markup_and_control_characters_are_inert(tmp_path: Path, clock: Clock) -> None:
    terminal = Terminal(140)
    report = make_display(terminal, sweep_dir=tmp_path)
    run = started(report, 0, tmp_path / "[bold]a\x1b[2Jb\x9bc\rd", slot="[red]0\x1b]0;title\x07")
    files.append_lines(run.metrics, [{"[link=x]lo\x1b[1mss": 0.5}])
    report.fail(1, None, 0.0, "Error: [bold]\x1b[2Jno\x07", "tail \x1b[31m[red]\nold\rnew", None)
    report.note(":boom: \x1b[5A up")
    tick(report, clock)
    shown = "\n".join(terminal.screen.shown())  # the screen refuses control characters
    for words in ("[bold]ab", "[link=x]loss 0.5", "Error: [bold]no", "tail [red]", "\n      new\n", ":boom:  up"):
        assert words in shown
    assert "title" not in shown
    report.close()


def test_narrower_terminal_leaves_no_garbage(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(100, 30)
    report = Display(8, ["cpu"] * 3, stream=terminal)
    monkeypatch.setattr(report._outlet, "size", lambda: (terminal.screen.width, terminal.screen.height))
    started(report, 0, tmp_path / ("long_" * 14))
    report.note("before")
    for width in (100, 60, 35, 90):
        terminal.screen.resize(width)
        tick(report, clock)
    assert terminal.screen.shown().count("before") == 1
    assert sum(line.startswith("slot ") for line in terminal.screen.shown()) == 1
    assert sum("0/8" in line for line in terminal.screen.shown()) == 1
    report.close()
    assert terminal.screen.shown()[-1] == "before"


def test_terminal_that_goes_away_is_silence(tmp_path: Path, clock: Clock) -> None:
    terminal = Terminal()
    report = make_display(terminal)
    started(report, 0, tmp_path / "a")
    tick(report, clock)
    terminal.error = OSError(errno.EIO, "Input/output error")
    report.done(0, tmp_path / "a", 1.0)
    tick(report, clock)
    terminal.error = None
    before = terminal.screen.shown()
    tick(report, clock)
    report.close()
    report.sum_up(0, 1.0)
    assert terminal.screen.shown() == before
    assert report.tick_s is None
    assert report.counts["done"] == 1


def test_picture_that_fails_becomes_plain_lines(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug")

    terminal = Terminal()
    report = make_display(terminal)
    monkeypatch.setattr(display_module, "draw", broken)
    report.note("one")
    tick(report, clock)
    report.note("two")
    report.close()
    assert terminal.screen.shown() == ["one", "two"]
    assert report.tick_s is None


def test_driver_that_fails_costs_the_memory_column_only(clock: Clock) -> None:
    def broken() -> Any:
        raise RuntimeError("driver/library version mismatch")

    terminal = Terminal()
    report = make_display(terminal, memory=broken)
    tick(report, clock)
    assert "idle" in terminal.screen.shown()[-2]
    report.close()


def test_prints_and_log_lines_go_above_the_display(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    handler = logging.StreamHandler(terminal)
    logging.getLogger().addHandler(handler)
    try:
        report = make_display(terminal)
        tick(report, clock)
        logging.getLogger("a").warning("a warning")
        print("[bold]printed[/bold]", file=sys.stderr)
        tick(report, clock)
        assert terminal.screen.shown()[:3] == ["a warning", "[bold]printed[/bold]", "slot  run"]
        report.close()
        assert handler.stream is terminal
        assert sys.stderr is terminal
        assert terminal.screen.shown() == ["a warning", "[bold]printed[/bold]"]
    finally:
        logging.getLogger().removeHandler(handler)


def test_run_shows_only_what_this_attempt_wrote(tmp_path: Path, clock: Clock) -> None:
    run = RunDir.at(tmp_path / "a")
    run.create()
    files.write_yaml(run.progress, {"step": 999, "total": 1000, "rate": 1.0})
    files.append_lines(run.metrics, [{"step": 999, "old": 1.0}])
    terminal = Terminal(120)
    report = make_display(terminal)
    started(report, 0, run.path)
    tick(report, clock)
    assert "999" not in terminal.screen.shown()[-3]
    files.append_lines(run.metrics, [{"step": number, "new": number / 7} for number in range(1, 2000)])
    with run.metrics.open("a") as file:
        file.write('{"new": 5, "torn')
    tick(report, clock)
    assert terminal.screen.shown()[-3].endswith("new 285.6")
    report.close()


def test_many_events_between_two_ticks_are_one_picture(tmp_path: Path, clock: Clock) -> None:
    terminal = Terminal()
    report = make_display(terminal, total=3000)
    assert report.tick_s == 0.5
    for number in range(1000):
        report.skip(number, tmp_path / str(number), "")
    assert report.tick_s is not None
    assert report.tick_s <= 0.1
    tick(report, clock)
    assert sum("SKIP" in line for line in terminal.screen.shown()) >= 1000
    assert "1000/3000" in terminal.screen.shown()[-1]
    report.close()
