"""What the page costs: how fast it is there, what its server takes for many idle runs, what training loses by it.

`python benchmarks/page.py [--runs 1000] [--seconds 20] [--pages 10] [--only keys]`. Chromium opens the pages; without
it what needs no browser is measured. The machine is shared with whatever else runs on it: look at the CPU times and the
ratios.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from trainctl.config.settings import PanelSettings
from trainctl.panel.server import handle as process
from trainctl.rundir.paths import RunDir

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "panel"))

WATCHING = Path(__file__).resolve().with_name("watching.py")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
# a headless browser may report its first paint some frames after what was painted is there
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
TRAINING = """
import sys, time, trainctl
from omegaconf import OmegaConf
config = {"lr": 0.1}
for i in range((int(sys.argv[3]) if len(sys.argv) > 3 else 1) // 2):
    layers = config.setdefault(f"group_{i // 25:02}", {}).setdefault("layers", {})
    layers[f"layer_{i % 25:02}"] = {"w": i / 10, "on": i % 2 == 0}
live = trainctl.live(OmegaConf.create(config), run_dir=sys.argv[1])
end = time.perf_counter() + float(sys.argv[2])
while time.perf_counter() < end:
    step = live.step()
    live.log(loss=1 / step)
    until = time.perf_counter() + 0.001
    while time.perf_counter() < until:
        if len(sys.argv) > 3: time.sleep(0.05)
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


def browser_cpu_s() -> float:
    """Return the CPU time of all processes of our browser so far."""
    children = psutil.Process().children(recursive=True)
    return sum(cpu_s(child) for child in children if "chrom" in child.name())


def measure_start(root: Path) -> Any:
    """Print how long it takes until the address is known, and until the page answers."""
    began = time.perf_counter()
    handle = process.ensure(root, PanelSettings(keep_min=0))
    assert handle is not None
    known = time.perf_counter() - began
    token = handle.url.rpartition("=")[2]
    asked = urllib.request.Request(handle.url.partition("?")[0], headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asked, timeout=120) as answer:
        answer.read()
    print(f"address known after {1000 * known:.0f} ms; page answered after {time.perf_counter() - began:.2f} s")
    return handle


def measure_paint(page: Any, root: Path, url: str, number: int) -> None:
    """Print what it takes until the first row of the sweep's page is there; a second time too (code is cached then)."""
    server = server_of(root)
    for which in ("first", "second"):
        spent, drawn, began = cpu_s(server), browser_cpu_s(), time.perf_counter()
        page.goto(url)
        page.locator(".row").first.wait_for(timeout=120_000)
        wall = time.perf_counter() - began
        spent, drawn = cpu_s(server) - spent, browser_cpu_s() - drawn
        painted = page.wait_for_function(PAINTED).json_value() / 1000
        print(
            f"{number} runs: first paint after {painted:.2f} s, first row after {wall:.2f} s ({which} time);"
            f" CPU {spent:.2f} s of the server, {drawn:.2f} s of the browser"
        )


def measure_idle(root: Path, seconds: float, what: str) -> None:
    """Print what the server takes of a core while nothing changes, and its memory."""
    server = server_of(root)
    time.sleep(3)
    before, began = cpu_s(server), time.perf_counter()
    time.sleep(seconds)
    share = (cpu_s(server) - before) / (time.perf_counter() - began)
    memory = server.memory_info().rss / 2**20
    print(f"{what}: {100 * share:.1f} % of a core, {memory:.0f} MiB")


def steps_in(root: Path, name: str, seconds: float) -> int:
    """Return how many steps a training does in so many seconds."""
    first, began = last_step(root, name), time.perf_counter()
    time.sleep(seconds)
    steps, took = last_step(root, name) - first, time.perf_counter() - began
    return round(steps * seconds / took)


def last_step(root: Path, name: str) -> int:
    """Return the step of the last record that is there."""
    with RunDir.at(root / name).metrics.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - 4096))
        lines = file.read().splitlines(keepends=True)
    whole = [line for line in lines[1:] if line.endswith(b"\n")]
    return int(json.loads(whole[-1])["step"]) if whole else 0


@contextmanager
def training(root: Path, name: str, seconds: float, keys: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Train for so long, from when its files are there; with so many keys, and then nearly without taking a core."""
    command = [sys.executable, "-c", TRAINING, str(root / name), str(seconds), *([str(keys)] if keys else [])]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while not RunDir.at(root / name).metrics.exists():
        time.sleep(0.01)
    try:
        yield started
    finally:
        started.terminate()
        started.wait()


def run_page(url: str, name: str) -> str:
    return url.replace("/?", f"/run/{name}?")


def measure_sessions(root: Path, url: str, numbers: tuple[int, ...], seconds: float) -> None:
    """Print what the server takes for pages that are open on one run of 1 ms steps, without any browser."""
    server = server_of(root)
    for number in numbers:
        with training(root, f"sessions-{number}", 600):
            opened = cpu_s(server)
            command = [sys.executable, str(WATCHING), run_page(url, f"sessions-{number}"), str(number), str(seconds)]
            pages = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert pages.stdout is not None
            pages.stdout.readline()
            before, began = cpu_s(server), time.perf_counter()
            came = json.loads(pages.communicate()[0])
            share = (cpu_s(server) - before) / (time.perf_counter() - began)
        print(
            f"{number} pages of a run of 1 ms steps: server {100 * share:.1f} % of a core,"
            f" {came['bytes'] / 1024:.0f} KiB in {seconds:.0f} s; {(before - opened) / number:.2f} s of CPU to open one"
        )


def measure_training(root: Path, started: Any, url: str, number: int, seconds: float) -> None:
    """Print what a training of 1 ms steps loses by open pages, then by browsers that show them, in pairs."""
    for who in ("sessions", "browser"):
        if who == "browser" and started is None:
            continue
        ratios = []
        with training(root, who, 3600):
            for _ in range(3):
                alone = steps_in(root, who, seconds)
                close = open_sessions(url, who, number) if who == "sessions" else open_tabs(started, url, who, number)
                watched = steps_in(root, who, seconds)
                close()
                ratios.append(watched / alone)
                print(
                    f"{number} pages, {who}: {alone} steps alone, {watched} watched ({100 * (ratios[-1] - 1):+.1f} %)"
                )
        print(f"{number} pages, {who}: median {100 * (sorted(ratios)[1] - 1):+.1f} %")


def open_sessions(url: str, name: str, number: int) -> Callable[[], None]:
    """Open pages without a browser: what is lost then, the server takes."""
    command = ["nice", "-n", "19", sys.executable, str(WATCHING), run_page(url, name), str(number), "600"]
    pages = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert pages.stdout is not None
    pages.stdout.readline()

    def close() -> None:
        pages.terminate()
        pages.wait()

    return close


def open_tabs(started: Any, url: str, name: str, number: int) -> Callable[[], None]:
    """Open pages in Chromium, which takes its share of the cores too."""
    context = started.new_context()
    context.new_page().goto(url)
    for _ in range(number):
        page = context.new_page()
        page.goto(run_page(url, name).partition("?")[0])
        page.get_by_text("Changelog").wait_for(timeout=300_000)
    return lambda: context.close()  # noqa: PLW0108  # its own answer does not count


def _said(opened: tuple[float, float, float, float]) -> str:
    painted, shown, spent, grown = opened
    return f"first paint after {painted:.2f} s, there after {shown:.2f} s, CPU {spent:.2f} s, {grown:+.0f} MiB"


def measure_keys(started: Any, numbers: tuple[int, ...]) -> None:
    """Print what it takes to open a run with so many keys, beside a page of one sentence, all on one warm server."""
    root = Path(tempfile.mkdtemp(prefix="bench-keys-"))
    handle = process.ensure(root, PanelSettings())
    assert handle is not None
    context = started.new_context()
    context.new_page().goto(handle.url)
    server = server_of(root)

    def opened(name: str, text: str) -> tuple[float, float, float, float]:
        page = context.new_page()
        spent, memory, began = cpu_s(server), server.memory_info().rss, time.perf_counter()
        page.goto(run_page(handle.url, name).partition("?")[0], timeout=300_000)
        page.get_by_text(text).first.wait_for(timeout=300_000)
        wall, spent = time.perf_counter() - began, cpu_s(server) - spent
        painted = page.wait_for_function(PAINTED).json_value() / 1000
        page.close()
        return painted, wall, spent, (server.memory_info().rss - memory) / 2**20

    try:
        with training(root, "small", 3600, 2):
            opened("small", "group_00")  # the first page loads code
            for number in numbers:
                with training(root, f"keys-{number}", 3600, number):
                    found = [
                        (opened("none", "There is no run"), opened(f"keys-{number}", "layer_00")) for _ in range(3)
                    ]
                empty, form = (sorted(one)[1] for one in zip(*found, strict=True))
                ratio = sorted(with_keys[1] / without[1] for without, with_keys in found)[1]
                print(f"{number} keys: {_said(form)}; an empty page: {_said(empty)}; ratio {ratio:.2f}")
    finally:
        context.close()
        handle.close()
        shutil.rmtree(root, ignore_errors=True)


def main() -> None:
    """Measure all, in a directory that is removed at the end."""
    from made_sweep import make_sweep

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--only", choices=["keys"], help="what it takes to open a run of 17, 300 and 2,000 keys")
    given = parser.parse_args()
    if given.only == "keys":
        with browser() as started:
            if started is None:
                sys.exit("this needs Chromium and Playwright")
            measure_keys(started, (17, 300, 2000))
        return
    root = Path(tempfile.mkdtemp(prefix="bench-page-"))
    make_sweep(root, given.runs)
    handle = measure_start(root)
    try:
        measure_idle(root, given.seconds, f"{given.runs} idle runs, no page open")
        measure_sessions(root, handle.url, (1, given.pages), given.seconds)
        with browser() as started:
            if started is None:
                print("no Chromium, or no Playwright: what needs a browser is left out")
                measure_training(root, None, handle.url, given.pages, given.seconds)
                return
            page = started.new_context().new_page()
            measure_paint(page, root, handle.url, given.runs)
            measure_idle(root, given.seconds, f"{given.runs} idle runs, the sweep's page open")
            page.close()
            measure_training(root, started, handle.url, given.pages, given.seconds)
    finally:
        handle.close()
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
