"""Take pictures of the page from a real sweep of the demo task: `make screenshots` those in docs/, `make shots` all."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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
QUIET = "trainctl.panel.enabled=false"
SWEEP = ["-m", "norm=new,batch", "optim.lr=0.02,0.05,0.1", "trainctl.seed=1,2,3", "task.steps=600"]
DIVERGED = [
    "norm=layer",
    "optim.lr=100000",
    "trainctl.seed=1",
    "task.steps=600",
    "hydra.run.dir=outputs/train/Diverged",
]
FAILED = ["norm=new", "task.name=nowhere", "hydra.run.dir=outputs/train/Failed"]
EDITED = ["norm=new", "trainctl.seed=4", "task.steps=600", "task.batch_size=1000"]
LIVE = ["trainctl.seed=5", "model=deep", "task.steps=2000", "task.batch_size=1200", "optim.lr=0.05"]
PATIENCE_S = 240
SIZES = {"": (1440, 900), "-phone": (390, 844)}


def main() -> None:
    """Train, open the pages as a person does, and replace the pictures; with `--all` write every screen to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", type=Path, help="a folder for every screen, light, dark and narrow")
    parser.add_argument("--root", type=Path, help="runs that are there already, instead of a new sweep")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        root = given.root or stack.enter_context(trained())
        handle = process.ensure(root, PanelSettings())
        assert handle is not None
        stack.callback(handle.close)
        with sync_playwright() as playwright:
            chromium = shutil.which("chromium") or shutil.which("chromium-browser")
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            if given.all is None:
                take(browser, handle.url)
            else:
                given.all.mkdir(parents=True, exist_ok=True)
                take_all(browser, handle.url, given.all)
            browser.close()


@contextlib.contextmanager
def trained() -> Iterator[Path]:
    """Run the demo: a sweep that is done, a run that diverged, one that failed, edited ones, and two that go on."""
    folder = Path(tempfile.mkdtemp(prefix="screenshots-"))
    root = folder / "outputs" / "train"
    train = [sys.executable, str(HERE.parent / "train.py")]
    going = []

    def start(name: str, words: list[str]) -> subprocess.Popen[bytes]:
        command = [*train, *words, f"hydra.run.dir=outputs/train/{name}", QUIET]
        going.append(subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return going[-1]

    try:
        for words in (SWEEP, DIVERGED, FAILED):
            is_failing = words is FAILED
            subprocess.run([*train, *words, QUIET], cwd=folder, check=not is_failing, stdout=subprocess.DEVNULL)
        edited = start("Edited", EDITED)
        edit(RunDir.at(root / "Edited"), {"optim.lr": "0.02"}, "calmer")
        wait_for(lambda: edited.poll() is not None)
        for norm in ("new", "batch"):
            start(f"Live_{norm}", [*LIVE, f"norm={norm}"])
        edit(RunDir.at(root / "Live_new"), {"optim.lr": "0.2"}, "faster")
        edit(RunDir.at(root / "Live_new"), {"optim.lr": "0.01", "task.batch_size": "1000"}, "calmer")
        yield root
    finally:
        for one in going:
            one.terminate()
            one.wait()
        shutil.rmtree(folder, ignore_errors=True)


def edit(run: RunDir, edits: dict[str, str], note: str) -> None:
    """Edit a run once it has gone on for a while."""
    size = run.metrics.stat().st_size if run.metrics.exists() else 0
    wait_for(lambda: run.metrics.exists() and run.metrics.stat().st_size > size + 5_000)
    assert wait_for_answer(run, file_request(run, edits, via="cli", note=note), PATIENCE_S) is not None


def take(browser: Any, url: str) -> None:
    """Take the pictures that the documents show."""
    page = opened(browser, url, (1280, 800))
    for name, show in (("sweep", show_sweep), ("compare", show_compare), ("run", show_run)):
        show(page, url.partition("?")[0])
        shoot(page, HERE / f"{name}.png")


def take_all(browser: Any, url: str, folder: Path) -> None:
    """Write every screen to a folder: on a wide and on a narrow screen, and some of them in the dark."""
    base = url.partition("?")[0]
    for suffix, size in SIZES.items():
        page = opened(browser, url, size)
        for name, show in SCREENS.items():
            show(page, base)
            shoot(page, folder / f"{name}{suffix}.png")
        page.context.close()
    page = opened(browser, url, SIZES[""], color_scheme="dark")
    for name in ("sweep", "sweep-hover", "sweep-parameters", "compare", "run"):
        SCREENS[name](page, base)
        shoot(page, folder / f"{name}-dark.png")
    page.context.close()


def opened(browser: Any, url: str, size: tuple[int, int], **more: Any) -> Any:
    """Open a page that has entered by the link."""
    page = browser.new_context(viewport={"width": size[0], "height": size[1]}, **more).new_page()
    page.set_default_timeout(1000 * PATIENCE_S)
    page.goto(url)
    return page


def show_sweep(page: Any, base: str, query: str = "") -> None:
    """Show all runs."""
    page.goto(f"{base}{query}")
    page.locator(".row").first.wait_for()
    page.locator("article canvas").first.wait_for()
    settle(page)


def show_hover(page: Any, base: str) -> None:
    """Show all runs with the pointer on a line."""
    show_sweep(page, base, "?smooth=0.7")
    page.wait_for_timeout(3000)
    box = page.locator("article .plot").first.bounding_box()
    for share in range(20, 90, 3):
        page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + box["height"] * share / 100)
        if page.locator("article [role=tooltip]").count():
            return


def show_tab(tab: str) -> Callable[[Any, str], None]:
    """Return what shows a tab of the page of all runs."""

    def show(page: Any, base: str) -> None:
        page.goto(f"{base}?tab={tab}")
        page.locator(".row").first.wait_for()
        settle(page)

    return show


def show_compare(page: Any, base: str) -> None:
    """Show a few runs beside each other."""
    page.goto(f"{base}compare?runs=Live_new,Live_batch,Edited,Diverged")
    page.get_by_text("Edits by step").wait_for()
    settle(page)


def show_run(page: Any, base: str, query: str = "") -> None:
    """Show a run that trains."""
    page.goto(f"{base}run/Live_new{query}")
    page.get_by_role("tab").first.wait_for()
    settle(page)


SCREENS: dict[str, Callable[[Any, str], None]] = {
    "sweep": show_sweep,
    "sweep-hover": show_hover,
    "sweep-filtered": lambda page, base: show_sweep(page, base, "?filter=optim.lr%3E0.02+norm%3Dnew"),
    "sweep-wrong-filter": lambda page, base: show_sweep(page, base, "?filter=optim.lr%3Ex"),
    "sweep-grouped": lambda page, base: show_sweep(page, base, "?group=norm&sort=-result"),
    "sweep-chosen": lambda page, base: show_sweep(page, base, "?runs=Live_new,Edited&by=optim.lr"),
    "sweep-parameters": show_tab("parameters"),
    "sweep-results": show_tab("results"),
    "compare": show_compare,
    "run": show_run,
    "run-log": lambda page, base: show_run(page, base, "?tab=log"),
}


def shoot(page: Any, path: Path) -> None:
    """Replace one picture, once the page has drawn all that it knows."""
    settle(page)
    page.wait_for_timeout(3000)  # plots are drawn once a second
    page.screenshot(path=f"{path}.tmp", type="png")
    os.replace(f"{path}.tmp", path)


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
