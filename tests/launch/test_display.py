"""The live display: fits every terminal, shows data as data, gives the terminal back, and never costs a sweep."""

from __future__ import annotations

import codecs
import errno
import fcntl
import io
import logging
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from screen import Screen

from trainctl.launch import display as display_module
from trainctl.launch.display import Display
from trainctl.launch.picture import Sums, draw
from trainctl.launch.progress import make_report
from trainctl.launch.report import Report
from trainctl.run import files
from trainctl.run.rundir import RunDir


class Terminal(io.StringIO):
    """A stream that says it is a terminal, and the screen that it leads to."""

    def __init__(self, width: int = 80, height: int = 24) -> None:
        super().__init__()
        self.screen = Screen(width, height)
        self.error: OSError | None = None

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self.error is not None:
            raise self.error
        self.screen.feed(text.replace("\n", "\r\n"))
        return len(text)


class Clock:
    """A display's clock that goes only when told to, so that every tick paints."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(display_module.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def make_display(terminal: Terminal, total: int = 8, slots: int = 2, **options: Any) -> Display:
    size = (terminal.screen.width, terminal.screen.height)
    return Display(total, ["cpu"] * slots, stream=terminal, size=size, **options)


def started(report: Report, position: int, path: Path, slot: str = "cpu") -> RunDir:
    run = RunDir.at(path)
    run.create()
    report.start(position, path, slot, 1)
    return run


def tick(report: Report, clock: Clock, seconds: float = 1.0) -> None:
    clock.now += seconds
    report.tick()


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
    row = {"slot": "0", "job": "3/40", "run": "Norm_new-Lr_0.1-Seed_12", "time": "1m12s", "step": "8000/10000"}
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
    assert busy.split() == ["cpu", "1/8", "Norm_new/a", "1m12s", "812/1000", "20/s", "2.0/80", "GiB", "loss", "0.25"]
    assert idle.split() == ["cpu", "idle", "2.0/80", "GiB"]
    assert overall.split()[1:] == ["0/8", "ETA", "4m50s", "8", "left"]
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
    assert [line.split()[0::2] for line in lines[:2]] == [["START", "0", "slot"], ["DONE", "0", "12.5"]]
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


def test_plain_report_survives_the_end_of_its_reader(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        report = Report(1, stream=stream)
        report.start(0, tmp_path, "cpu", 1)
        report.done(0, tmp_path, 1.0)
    assert report.counts["done"] == 1


def test_plain_report_on_a_full_disk_goes_on() -> None:
    terminal = Terminal()
    report = Report(1, stream=terminal)
    terminal.error = OSError(errno.ENOSPC, "No space left on device")
    report.note("lost")
    terminal.error = None
    report.note("kept")
    assert terminal.screen.shown() == ["kept"]


def test_plain_report_writes_what_the_encoding_cannot(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="ascii") as stream:
        Report(1, stream=stream).note("naïve")
    assert (tmp_path / "log").read_text() == "na\\xefve\n"


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
        report.skip(number, tmp_path / str(number), True)
    assert report.tick_s is not None
    assert report.tick_s <= 0.1
    tick(report, clock)
    assert sum("SKIP" in line for line in terminal.screen.shown()) >= 1000
    assert "1000/3000" in terminal.screen.shown()[-1]
    report.close()


@pytest.mark.parametrize(
    ("progress", "environment", "is_terminal", "kind"),
    [
        ("auto", {"TERM": "xterm"}, True, Display),
        ("auto", {"TERM": "xterm", "CI": "true"}, True, Report),
        ("auto", {"TERM": "xterm", "CI": "false"}, True, Display),
        ("auto", {"TERM": "dumb"}, True, Report),
        ("auto", {"TERM": "xterm"}, False, Report),
        ("rich", {"TERM": "xterm", "CI": "true"}, True, Display),
        ("rich", {"TERM": "xterm"}, False, Report),
        ("plain", {"TERM": "xterm"}, True, Report),
        ("off", {"TERM": "xterm"}, True, Report),
    ],
)
def test_progress_chooses_the_report(progress: str, environment: Any, is_terminal: bool, kind: type[Report]) -> None:
    stream = Terminal() if is_terminal else io.StringIO()
    report = make_report(1, progress, stream=stream, environment=environment)
    assert type(report) is kind
    report.note("words")
    report.close()
    shown = stream.screen.shown() if isinstance(stream, Terminal) else stream.getvalue().splitlines()
    assert shown == ([] if progress == "off" else ["words"])


def on_pty(command: list[str], cwd: Path, width: int, height: int, act: Callable[[Screen], None]) -> Screen:
    """Run a command on a real pseudo terminal and return its screen; `act` is called whenever that has changed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "COLUMNS", "LINES")}
    environment["TERM"] = "xterm-256color"
    screen, decoder, unread = Screen(width, height), codecs.getincrementaldecoder("utf-8")(), ""
    process = subprocess.Popen(command, cwd=cwd, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        while True:
            assert select.select([ours], [], [], 60)[0], f"nothing was written for a minute after {screen.shown()}"
            try:
                unread += decoder.decode(os.read(ours, 65536))
            except OSError:  # the terminal's last user has left
                break
            whole = re.fullmatch(r"(.*?)(\x1b[^A-Za-z]*)?", unread, re.DOTALL)
            assert whole is not None
            screen.feed(whole[1])
            unread = whole[2] or ""
            act(screen)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return screen


def test_sweep_on_a_terminal(app: Any) -> None:
    pictures: list[str] = []

    def act(screen: Screen) -> None:
        pictures.append("\n".join(screen.shown()))
        if "2 left" in pictures[-1] and pictures[-1].count("START") == 2:
            app.go()

    screen = on_pty(app.command("x=1,2", "mode=wait", "hydra.launcher.slots=2"), app.path, 80, 24, act)
    rows = re.compile(
        r"cpu +[12]/2 +[01] +[\d.]+s\ncpu +[12]/2 +[01] "
    )  # two jobs may say in either order that they run
    assert any(rows.search(picture) for picture in pictures)
    lines = screen.shown()
    assert [line.split()[0] for line in lines[:2]] == ["START", "START"]
    assert sum(line.startswith("DONE ") for line in lines) == 2
    assert lines[-1].startswith("2 jobs: 2 done (")
    assert not any("left" in line for line in lines)
    assert screen.is_cursor_shown
