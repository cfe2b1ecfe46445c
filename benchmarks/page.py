"""What the page costs: how fast it is there, what its server takes for many idle runs, what training loses by it.

`python benchmarks/page.py [--runs 1000] [--seconds 20] [--pages 10]`. Chromium opens the pages; without it what needs
no browser is measured. The machine is shared with whatever else runs on it: look at the ratios.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from trainctl.config.settings import PanelSettings
from trainctl.panel import process
from trainctl.run.rundir import RunDir

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "panel"))

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
TRAINING = """
import sys, time, trainctl
from omegaconf import OmegaConf
live = trainctl.live(OmegaConf.create({"lr": 0.1}), run_dir=sys.argv[1])
end = time.perf_counter() + float(sys.argv[2])
while time.perf_counter() < end:
    step = live.step()
    live.log(loss=1 / step)
    until = time.perf_counter() + 0.001
    while time.perf_counter() < until: pass
print(live.step_number)
"""


@contextmanager
def browser() -> Iterator[Any]:
    """Open Chromium; None where there is none, or no Playwright."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        yield None
        return
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


def server_of(root: Path) -> psutil.Process:
    """Return the server's process."""
    record = process.find(root)
    assert record is not None
    return psutil.Process(record.pid)


def cpu_s(server: psutil.Process) -> float:
    times = server.cpu_times()
    return times.user + times.system


def measure_start(root: Path) -> Any:
    """Print how long it takes until the address is known, and until the page answers."""
    began = time.perf_counter()
    handle = process.ensure(root, PanelSettings())
    assert handle is not None
    known = time.perf_counter() - began
    token = handle.url.rpartition("=")[2]
    asked = urllib.request.Request(handle.url.partition("?")[0], headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asked, timeout=120) as answer:
        answer.read()
    print(f"address known after {1000 * known:.0f} ms; page answered after {time.perf_counter() - began:.2f} s")
    return handle


def measure_paint(page: Any, url: str, number: int) -> None:
    """Print how long the sweep's page takes until its first row is there, a second time too (code is cached then)."""
    for which in ("first", "second"):
        began = time.perf_counter()
        page.goto(url)
        page.locator(".tabulator-row").first.wait_for(timeout=120_000)
        print(f"{number} runs: first row painted after {time.perf_counter() - began:.2f} s ({which} time)")


def measure_idle(root: Path, seconds: float, what: str) -> None:
    """Print what the server takes of a core while nothing changes, and its memory."""
    server = server_of(root)
    time.sleep(3)
    before, began = cpu_s(server), time.perf_counter()
    time.sleep(seconds)
    share = (cpu_s(server) - before) / (time.perf_counter() - began)
    memory = server.memory_info().rss / 2**20
    print(f"{what}: {100 * share:.1f} % of a core, {memory:.0f} MiB")


def steps_of(root: Path, name: str, seconds: float) -> int:
    """Train for so long and return how many steps were done."""
    command = [sys.executable, "-c", TRAINING, str(root / name), str(seconds)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout)


def measure_training(root: Path, started: Any, url: str, number: int, seconds: float) -> None:
    """Print what a training of 1 ms steps loses by open pages, in alternating pairs."""
    ratios = []
    for pair in range(3):
        alone = steps_of(root, f"alone-{pair}", seconds)
        name = f"watched-{pair}"
        training = subprocess.Popen(
            [sys.executable, "-c", TRAINING, str(root / name), str(seconds)], stdout=subprocess.PIPE, text=True
        )
        while not RunDir.at(root / name).metrics.exists():
            time.sleep(0.01)
        context = started.new_context()
        context.new_page().goto(url)
        for _ in range(number):
            context.new_page().goto(f"{url.partition('?')[0]}run/{name}", wait_until="commit")
        watched = int(training.communicate(timeout=600)[0])
        context.close()
        ratios.append(watched / alone)
        print(f"{number} pages: {alone} steps alone, {watched} watched ({100 * (watched / alone - 1):+.1f} %)")
    print(
        f"{number} pages: median {100 * (sorted(ratios)[1] - 1):+.1f} % (the browser takes its share of the cores too)"
    )


def main() -> None:
    """Measure all, in a directory that is removed at the end."""
    from made_sweep import make_sweep

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--pages", type=int, default=10)
    given = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="bench-page-"))
    make_sweep(root, given.runs)
    handle = measure_start(root)
    try:
        measure_idle(root, given.seconds, f"{given.runs} idle runs, no page open")
        with browser() as started:
            if started is None:
                print("no Chromium, or no Playwright: what needs a browser is left out")
                return
            page = started.new_context().new_page()
            measure_paint(page, handle.url, given.runs)
            measure_idle(root, given.seconds, f"{given.runs} idle runs, the sweep's page open")
            page.close()
            measure_training(root, started, handle.url, given.pages, given.seconds)
    finally:
        handle.close()
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
