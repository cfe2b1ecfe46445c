"""What a launcher shows of its jobs: `make_report` chooses how, as `hydra.launcher.progress` asks."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from trainctl.launch.display.report import Memory, Report

_DUMB = ("", "dumb", "unknown")
_FALSE = ("", "0", "false", "no", "off")


def make_report(
    total: int,
    progress: str = "auto",
    *,
    slots: Sequence[str] = (),
    sweep_dir: Path | None = None,
    memory: Memory | None = None,
    stream: TextIO | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Report:
    """Return the report that `hydra.launcher.progress` asks for; it writes to stderr by default.

    `auto` is a live display on a terminal, else plain lines; a CI job gets plain lines even when it has a terminal,
    unless it asks for `rich`. Where lines cannot be written over (a file, a pipe, TERM=dumb) it is plain lines anyway.

    Args:
        total: how many jobs there are.
        progress: auto, rich, plain or off.
        slots: their names, in order.
        sweep_dir: what the names of runs are shown below.
        memory: returns used and total MiB by slot name; asked every few seconds.
        stream: where to, instead of stderr.
        environment: tells of TERM and CI.
    """
    stream = stream or sys.stderr
    wanted = progress == "rich" or (progress == "auto" and not _is_robot(environment))
    if not wanted or not _can_display(stream, environment):
        return Report(total, silent=progress == "off", stream=stream)
    from trainctl.launch.display.live import Display  # rich takes a while to load, and only a terminal needs it

    return Display(total, slots, stream=stream, sweep_dir=sweep_dir, memory=memory)


def _can_display(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether a stream is a terminal on which lines can be written over."""
    try:
        is_terminal = stream.isatty()
    except ValueError:  # closed
        return False
    return is_terminal and environment.get("TERM", "") not in _DUMB


def _is_robot(environment: Mapping[str, str]) -> bool:
    return environment.get("CI", "").lower() not in _FALSE
