"""The table of many runs in a browser: `python benchmarks/table.py --runs 10000`.

The first page waits for the server's first look at all runs. Then a second one is opened, and timed until its first row
is drawn; then a sort and a filter, until the table has followed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from page import browser, cpu_s, server_of

from trainctl.config.settings import PanelSettings
from trainctl.panel.server import handle as process

PATIENCE_MS = 600_000


def make_runs(root: Path, number: int) -> None:
    """Write runs that differ in two keys, with a hundred steps each; by copying one, which is quicker."""
    from made_sweep import make_run

    first = make_run(root, "Norm_a-Lr_0", ["norm=a", "lr=0"], result=0.5).path
    for at in range(1, number):
        norm = "abcdefg"[at % 7]
        folder = root / f"Norm_{norm}-Lr_{at}"
        shutil.copytree(first, folder)
        overrides = f"[norm={norm}, lr={at / 1000}]"
        (folder / "run.yaml").write_text(f"name: {folder.name}\noverrides: {overrides}\n")
        (folder / "result.yaml").write_text(f"value: {at % 1000 / 1000}\n")


def took(act: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def measure(root: Path, url: str, started: Any, number: int) -> None:
    """Print how long a page, a sort and a filter take."""
    context = started.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(url)
    page.locator(".row").first.wait_for()
    page.close()
    page, server = context.new_page(), server_of(root)
    page.set_default_timeout(PATIENCE_MS)
    spent, memory = cpu_s(server), server.memory_info().rss
    opened = took(lambda: (page.goto(url.partition("?")[0]), page.locator(".row").first.wait_for()))
    spent, grown = cpu_s(server) - spent, (server.memory_info().rss - memory) / 2**20
    print(f"{number} runs: first row after {opened:.2f} s; {spent:.2f} s of the server, {grown:+.0f} MiB")
    head = page.get_by_role("columnheader", name="lr", exact=True)
    first = page.locator('.row [data-column="lr"]').first

    def sort() -> None:
        head.click()
        first.filter(has_text=re.compile("^0$")).wait_for()

    print(f"sorted by a number after {took(sort):.2f} s")

    def find() -> None:
        page.get_by_label("Filter runs").fill("norm=b lr>0.5 state=done")
        page.get_by_role("status").filter(has_text=" of ").first.wait_for()

    print(f"filtered by three conditions after {took(find):.2f} s, of which 0.15 s are waited for the next key")
    context.close()


def main() -> None:
    """Measure, in a directory that is removed at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    number = parser.parse_args().runs
    root = Path(tempfile.mkdtemp(prefix="bench-table-"))
    try:
        make_runs(root, number)
        handle = process.ensure(root, PanelSettings())
        assert handle is not None
        with browser() as started:
            if started is None:
                sys.exit("this needs Chromium and Playwright")
            measure(root, handle.url, started, number)
        handle.close()
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
