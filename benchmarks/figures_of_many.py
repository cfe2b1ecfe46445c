"""Figures of the page and of the commands that look at many runs, by the number of runs and of keys."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from examine import cost
from figure import Figure, times
from page import PAINTED, browser, browser_cpu_s, cpu_s, run_page, server_of, training
from table import make_runs

from trainctl.config.settings import PanelSettings
from trainctl.panel.server import handle as process

RUNS, KEYS = (10, 100, 1_000, 10_000), (100, 1_000, 2_000)
TRAINCTL = (sys.executable, "-m", "trainctl")
_HEADS = ("first paint, s", "content, s", "server CPU, s", "browser CPU, s", "server memory, MiB")
_NO_BROWSER = "This figure needs Chromium and Playwright, which are not here."


def page(long: bool) -> Figure:
    """Measure what it takes to open the page of many runs, and of a run with many keys."""
    figure = Figure(
        "page",
        "The page of many runs and of many keys",
        "Opened in a headless Chromium on a warm server: seconds to the browser's first paint and to the first row or key, processor time of server "
        "and browser until then, and the server's memory afterwards; medians. The limit is a page of the same server that says one sentence.",
        ["", *_HEADS],
        unit="s to content",
    )
    with browser() as started:
        if started is None:
            figure.notes.append(_NO_BROWSER)
            return figure
        repeats = 5 if long else 2
        for number in RUNS:
            with made_runs(number) as root:
                _open_sweep(figure, started, root, number, repeats)
        _open_keys(figure, started, repeats)
    for what, value in (*((f"{number:,} runs", number) for number in RUNS), *((f"{one:,} keys", one) for one in KEYS)):
        row = next(row for row in figure.rows if row[0] == what)
        empty = next(row for row in figure.rows if row[0] == "one sentence")
        if value <= 2_000:
            figure.ratios[f"content, {what} / one sentence"] = row[2] / empty[2]
    return figure


def _open_sweep(figure: Figure, started: Any, root: Path, number: int, repeats: int) -> None:
    handle = process.ensure(root, PanelSettings(keep_min=0))
    assert handle is not None
    context = started.new_context(viewport={"width": 1440, "height": 900})
    try:
        first = context.new_page()
        first.goto(handle.url, timeout=600_000)
        first.locator(".row").first.wait_for(timeout=600_000)
        first.close()
        address = handle.url.partition("?")[0]
        _add(figure, f"{number:,} runs", [_opened(context, root, address, ".row") for _ in range(repeats)])
    finally:
        context.close()
        handle.close()


def _open_keys(figure: Figure, started: Any, repeats: int) -> None:
    root = Path(tempfile.mkdtemp(prefix="bench-keys-"))
    handle = process.ensure(root, PanelSettings(keep_min=0))
    assert handle is not None
    context = started.new_context(viewport={"width": 1440, "height": 900})
    try:
        context.new_page().goto(handle.url)
        with training(root, "small", 3600, 2):
            none, small = (run_page(handle.url, name).partition("?")[0] for name in ("none", "small"))
            _opened(context, root, small, "text=group_00")  # the first page loads code
            _add(figure, "one sentence", [_opened(context, root, none, "text=There is no run") for _ in range(repeats)])
        for keys in KEYS:
            name = f"keys-{keys}"
            with training(root, name, 3600, keys):
                address = run_page(handle.url, name).partition("?")[0]
                found = [_opened(context, root, address, "text=layer_00") for _ in range(repeats)]
                _add(figure, f"{keys:,} keys", found)
    finally:
        context.close()
        handle.close()
        shutil.rmtree(root, ignore_errors=True)


def _opened(context: Any, root: Path, address: str, content: str) -> tuple[float, ...]:
    """Open an address until its content is there; return the cells of a row."""
    server, opened = server_of(root), context.new_page()
    spent, drawn, began = cpu_s(server), browser_cpu_s(), time.perf_counter()
    opened.goto(address, timeout=600_000)
    opened.locator(content).first.wait_for(timeout=600_000)
    wall = time.perf_counter() - began
    spent, drawn = cpu_s(server) - spent, browser_cpu_s() - drawn
    painted = opened.wait_for_function(PAINTED).json_value() / 1000
    memory = server.memory_info().rss / 2**20
    opened.close()
    return painted, wall, spent, drawn, memory


def _add(figure: Figure, what: str, found: list[tuple[float, ...]]) -> None:
    row = [statistics.median(column) for column in zip(*found, strict=True)]
    figure.rows.append([what, *row])
    figure.bars.append((what, row[1]))


def look(long: bool) -> Figure:
    """Measure `trainctl ls` and `trainctl table` by the number of runs."""
    figure = Figure(
        "look",
        "`trainctl ls` and `trainctl table`",
        "Seconds of the whole command, and its processor time, with runs that have a hundred steps each; `again` is a second time, from the "
        "cache. The limit is a plain reading of the same files, and a Python that imports nothing.",
        ["", "s", "CPU s", "beside a plain reading"],
        unit="CPU s",
    )
    nothing = cost(lambda: subprocess.run([sys.executable, "-c", ""], check=True))
    figure.rows.append(["a Python that imports nothing", nothing[1], nothing[0], None])
    for number in (100, 1_000, 10_000):
        with made_runs(number) as root:
            time.sleep(2.5)  # files as young as the clock's granularity are not cached
            plain = cost(lambda: read_plainly(root))  # called at once
            figure.rows.append([f"{number:,} runs: a plain reading", plain[1], plain[0], times(1.0)])
            for words in ("ls", "table", "table again"):
                found = [_command(root, words.split()[0], number)]
                if words == "ls" or "again" in words:
                    found += [_command(root, words.split()[0], number) for _ in range(2 if long else 0)]
                cpu, wall = (statistics.median(column) for column in zip(*found, strict=True))
                ratio = cpu / plain[0]
                figure.rows.append([f"{number:,} runs: {words}", wall, cpu, times(ratio)])
                figure.bars.append((f"{number:,} runs: {words}", cpu))
                if number == 10_000:
                    figure.ratios[f"{words} of 10,000 runs / a plain reading"] = ratio
    return figure


def _command(root: Path, word: str, number: int) -> tuple[float, float]:
    """Return CPU and wall seconds of a command, which must have found all runs."""
    extra = ("--json",) if word == "ls" else ("--format", "csv")
    out: list[str] = []

    def act() -> None:
        command = [*TRAINCTL, word, str(root), *extra]
        out.append(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)

    taken = cost(act)
    found = out[0].count("Norm_")
    if found < number:
        raise RuntimeError(f"`trainctl {word}` printed {found} of {number} runs")
    return taken


def read_plainly(root: Path) -> None:
    """Read every file below a directory, and parse nothing."""
    for folder, _, names in os.walk(root):
        for name in names:
            Path(folder, name).read_bytes()


@contextmanager
def made_runs(number: int) -> Iterator[Path]:
    """Make runs that are over, in a directory that is removed afterwards."""
    root = Path(tempfile.mkdtemp(prefix="bench-runs-"))
    try:
        make_runs(root, number)
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)
