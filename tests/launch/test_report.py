"""Plain lines go wherever a stream leads, and on a terminal they are chosen only when asked for."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest
from terminals import Terminal

from trainctl.launch.display import make_report
from trainctl.launch.display.live import Display
from trainctl.launch.display.report import Report


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
