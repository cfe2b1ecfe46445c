"""Terminals in memory, and displays on them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from screen import Screen

from trainctl.launch.display import live as display_module
from trainctl.launch.display.live import Display
from trainctl.launch.display.report import Report
from trainctl.rundir.paths import RunDir


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
