"""What a browser test needs: a training process to edit, and what a person does with the page."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from waiting import wait_until

from trainctl.rundir import files
from trainctl.rundir.paths import RunDir

api = pytest.importorskip("playwright.sync_api", reason="the browser tests need Playwright for Python")
expect = api.expect
PATIENCE_S = float(os.environ.get("PATIENCE_S", "60"))
expect.set_options(timeout=1000 * PATIENCE_S)  # machines that test are busy

CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAME = "Lr_0.0005"  # of the run that trains in most tests
READ = re.compile(r"applied at step [\d,]+, read at step [\d,]+$")  # the answer of an edit whose values are used
TRAINING = Path(__file__).with_name("edited_training.py")


@dataclass(frozen=True)
class Training:
    """A training process and what its loop sees."""

    run: RunDir
    seen: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, root: Path, name: str, seen: Path, keys: int = 0) -> Training:
        command = [sys.executable, str(TRAINING), str(root / name), str(seen), str(keys)]
        training = cls(RunDir.at(root / name), seen, subprocess.Popen(command, cwd=seen.parent))
        try:
            wait_for(training.is_going, "the start of training")
        except BaseException:
            training.process.kill()
            training.process.wait()
            raise
        return training

    def is_going(self) -> bool:
        assert self.process.poll() is None, "the training has ended before it began"
        return self.run.changelog.exists() and self.run.metrics.exists() and self.run.metrics.stat().st_size > 0

    def sees(self, **values: Any) -> bool:
        return self.seen.exists() and values.items() <= json.loads(self.seen.read_text()).items()

    @property
    def step(self) -> int:
        return int(files.read_lines(self.run.metrics)[-1]["step"])

    def stop(self) -> None:
        Path(f"{self.seen}.stop").touch()
        assert self.process.wait(timeout=PATIENCE_S) == 0


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    wait_until(condition, what, timeout_s)


def settle(page: Any) -> None:
    """Wait until the page is drawn and its websocket is open; an edit before that would be lost."""
    wait_for(
        lambda: page.evaluate("!!window.Bokeh && Bokeh.documents.length > 0 && Bokeh.documents[0].is_idle"),
        "an idle page",
    )


def box_of(part: Any) -> dict[str, float]:
    """Return where a part is; it has no place for a moment while the page draws it anew."""
    found: list[Any] = []
    wait_for(lambda: found.append(part.bounding_box()) or found[-1], "a part that is drawn")
    return found[-1]


def run_url(url: str, name: str) -> str:
    return f"{url.partition('?')[0]}run/{quote(name, safe='')}"


def open_run(page: Any, url: str, name: str) -> None:
    """Open the page of a run as in a new tab: what was typed in this one, and which keys it showed, is forgotten."""
    if page.url.startswith("http"):
        page.evaluate("sessionStorage.clear()")
    page.goto(run_url(url, name))
    expect(value(page, "sched.warmup")).to_be_visible()
    settle(page)


def field(page: Any, name: str) -> Any:
    # a field with a hint has some spaces after its label
    return page.get_by_label(re.compile(rf"^{re.escape(name)}\W*$"))


def row_of_key(page: Any, key: str) -> Any:
    """A key's row in the tree of a run's keys."""
    return page.locator(f"[data-key={json.dumps(key)}]")


def value(page: Any, key: str) -> Any:
    """The value of a key that is not being edited: a text."""
    return row_of_key(page, key).locator(".plain")


def edit(page: Any, key: str, text: str | None = None) -> Any:
    """Open the widget of a key by a click on its value, unless it is open, and put a text into it."""
    widget = row_of_key(page, key).locator(".field")
    if not widget.count():
        value(page, key).click()
    if text is not None:
        widget.fill(text)
    return widget


def show_all_keys(page: Any) -> None:
    """Show the locked keys too."""
    shown = page.get_by_role("button", name=re.compile(r"^all [\d,]+ keys$"))
    if shown.get_attribute("aria-pressed") == "false":
        shown.click()


def button(page: Any, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def shot(page: Any, name: str) -> None:
    """Keep a screenshot for people where SCREENSHOTS says."""
    if kept := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(kept) / f"{name}.png")
