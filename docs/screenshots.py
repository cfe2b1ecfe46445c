"""Take the pictures in this directory from a real sweep of the demo task: `make screenshots`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from trainctl.config.settings import PanelSettings
from trainctl.panel.server import handle as process
from trainctl.rundir.events import wait_for_answer
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir

HERE = Path(__file__).resolve().parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
SWEEP = ["-m", "norm=new,batch", "optim.lr=0.02,0.05,0.1", "trainctl.seed=1,2,3", "task.steps=600"]
LIVE = ["task.steps=1000000", "hydra.run.dir=outputs/train/Live"]
QUIET = "trainctl.panel.enabled=false"
PATIENCE_S = 120


def main() -> None:
    """Train, open the pages as a person does, and replace the pictures."""
    folder = Path(tempfile.mkdtemp(prefix="screenshots-"))
    train = [sys.executable, str(HERE.parent / "train.py")]
    subprocess.run([*train, *SWEEP, QUIET], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    live = subprocess.Popen([*train, *LIVE, QUIET], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    root = folder / "outputs" / "train"
    handle = process.ensure(root, PanelSettings())
    assert handle is not None
    try:
        run = RunDir.at(root / "Live")
        wait_for(lambda: run.metrics.exists() and run.metrics.stat().st_size > 50_000)
        for edits, note in (({"optim.lr": "0.2"}, "faster"), ({"optim.lr": "0.02", "task.batch_size": "64"}, "calmer")):
            answer = wait_for_answer(run, file_request(run, edits, via="cli", note=note), PATIENCE_S)
            assert answer is not None
            size = run.metrics.stat().st_size
            wait_for(lambda size=size: run.metrics.stat().st_size > size + 50_000)
        take(handle.url)
    finally:
        live.terminate()
        live.wait()
        handle.close()
        shutil.rmtree(folder, ignore_errors=True)


def take(url: str) -> None:
    """Take the pictures of all pages."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    base = url.partition("?")[0]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(1000 * PATIENCE_S)
        page.goto(url)
        page.locator(".tabulator-row").first.wait_for()
        shoot(page, "sweep")
        names = [f"Norm_{norm}-OptimLr_0.1-TrainctlSeed_1" for norm in ("new", "batch")]
        page.goto(f"{base}compare?a={names[0]}&b={names[1]}")
        page.get_by_text("Changelog").wait_for()
        shoot(page, "compare")
        page.goto(f"{base}run/Live")
        settle(page)
        page.get_by_label("lr", exact=True).fill("0.03")
        page.get_by_label("betas", exact=True).fill("[0.9, 0.98")
        page.get_by_text("2 pending edits").wait_for()
        shoot(page, "run")
        browser.close()


def shoot(page: Any, name: str) -> None:
    """Replace one picture, once the page has drawn all that it knows."""
    settle(page)
    page.wait_for_timeout(3000)  # plots are drawn once a second
    page.screenshot(path=HERE / f"{name}.png.tmp", type="png")
    os.replace(HERE / f"{name}.png.tmp", HERE / f"{name}.png")


def settle(page: Any) -> None:
    """Wait until the page is drawn and its websocket is open."""
    # evaluated from here: the page's own policy forbids it to evaluate texts
    idle = "!!window.Bokeh && Bokeh.documents.length > 0 && Bokeh.documents[0].is_idle"
    wait_for(lambda: bool(page.evaluate(idle)))


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for something that training or the page does.

    Raises:
        TimeoutError: it has not in time.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the demo does not train, or its page is not drawn")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
