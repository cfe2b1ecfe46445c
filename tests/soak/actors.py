"""Who acts while sweeps train: three who edit, one who kills, one who fills the disk; each a thread with a seed."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
from disks import fill
from sweep_app import App

from trainctl.config.settings import PanelSettings
from trainctl.errors import TrainctlError
from trainctl.panel.server import handle as server
from trainctl.rundir import inbox
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import state_of

CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)


@dataclass(slots=True)
class Soak:
    """What the actors share.

    Attributes:
        asked: the ids of requests that were filed, by run.
        did: how often each thing was done.
        failures: what an actor did not expect; the soak fails by them.
    """

    app: App
    root: Path
    seed: int
    has_small_disk: bool
    stopped: threading.Event = field(default_factory=threading.Event)
    calm: threading.Event = field(default_factory=threading.Event)  # nobody kills or fills
    launcher: subprocess.Popen[bytes] | None = None
    asked: dict[Path, list[str]] = field(default_factory=dict)
    did: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str) -> None:
        with self.lock:
            self.did[what] += 1

    def running(self) -> list[RunDir]:
        """Return the runs that train now."""
        found = [RunDir.at(path.parent) for path in sorted(self.root.glob("sweep-*/*/inbox"))]
        return [run for run in found if state_of(run) == "running"]

    def page(self) -> server.PanelHandle | None:
        """Return the page; a server that was killed is started again. None where the full disk keeps it from that."""
        with contextlib.suppress(TrainctlError, OSError):
            return server.ensure(self.root, PanelSettings(keep_min=0.2))
        return None

    def end_page(self) -> None:
        """End the page's server."""
        if (page := self.page()) is not None:
            page.close()
        if (record := server.find(self.root)) is not None:
            with contextlib.suppress(psutil.Error):
                psutil.Process(record.pid).kill()

    def start(self) -> list[threading.Thread]:
        """Start all actors that can act here."""
        acts: list[Callable[[random.Random], None]] = [self.by_file, self.by_command, self.kill]
        loops = [lambda act=act: self._repeat(act) for act in (*acts, *([self.fill_up] if self.has_small_disk else []))]
        loops += [self._browse] if CHROMIUM else []
        threads = [threading.Thread(target=loop, daemon=True) for loop in loops]
        for thread in threads:
            thread.start()
        return threads

    def _browse(self) -> None:
        try:
            self.by_page()
        except Exception as error:  # noqa: BLE001  # as below
            self.failures.append(f"by_page: {type(error).__name__}: {error}")

    def _repeat(self, act: Callable[[random.Random], None]) -> None:
        draw = random.Random(f"{self.seed} {act.__name__}")
        while not self.stopped.wait(draw.uniform(0.2, 1.0)):
            try:
                act(draw)
            except Exception as error:  # noqa: BLE001  # told by the test, with what it is
                self.failures.append(f"{act.__name__}: {type(error).__name__}: {error}")

    def by_file(self, draw: random.Random) -> None:
        """Put a request into the inbox of a run, as a person or another program does."""
        runs = self.running()
        if not runs:
            return
        run = draw.choice(runs)
        edits = {"optim.lr": draw.uniform(0.01, 0.3)} | ({"optim.momentum": "wrong"} if draw.random() < 0.2 else {})
        try:
            request = inbox.file_request(run, edits, via="file", who="soak", at=None)
        except (TrainctlError, OSError):
            self.count("files that the full disk refused")
            return
        self.count("requests by file")
        with self.lock:
            self.asked.setdefault(run.path, []).append(request)

    def by_command(self, draw: random.Random) -> None:
        """Edit by `trainctl set`; some of these commands are killed on their way."""
        runs = self.running()
        if not runs:
            return
        run = draw.choice(runs)
        words = ["set", str(run.path), f"optim.momentum={draw.uniform(0.1, 0.8):.6f}", "--wait", "5"]
        command = subprocess.Popen(
            [sys.executable, "-m", "trainctl", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if draw.random() < 0.2:
            time.sleep(draw.uniform(0.1, 1.0))
            command.kill()
            self.count("commands killed")
        said, _ = command.communicate(timeout=120)
        self.count("requests by command")
        if "Traceback" in said:
            self.failures.append(f"`trainctl {' '.join(words)}` said:\n{said}")

    def by_page(self) -> None:
        """Edit on the page, in a browser that stays open; what a kill or the end of a run spoils is tried again."""
        from playwright.sync_api import Error, sync_playwright

        draw = random.Random(f"{self.seed} page")
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            page = chromium.new_page()
            address = ""  # of the server that has let this browser in
            while not self.stopped.wait(0.2):
                runs, handle = self.running(), self.page()
                if not runs or handle is None:
                    continue
                try:
                    if handle.url != address:
                        page.goto(handle.url)
                        address = handle.url
                    self._edit_on_page(page, address, runs[-1], draw)  # it has begun last
                except Error as error:
                    self.count("pages that a kill or an end spoiled")
                    if "ERR_CONNECTION" in str(error):
                        address = ""
            chromium.close()

    def _edit_on_page(self, page: Any, url: str, run: RunDir, draw: random.Random) -> None:
        page.set_default_timeout(5_000)
        name = quote(str(run.path.relative_to(self.root)), safe="")
        page.goto(f"{url.partition('?')[0]}run/{name}", timeout=15_000)
        row = page.locator('[data-key="optim.lr"]')
        row.locator(".plain").click()
        row.locator(".field").fill(f"{draw.uniform(0.01, 0.3):.6f}")
        page.get_by_role("button", name="Apply").click()
        page.get_by_role("status").filter(has_text="optim.lr").first.wait_for()
        self.count("requests by page")

    def kill(self, draw: random.Random) -> None:
        """Kill a process of a drawn kind, first of one not killed yet: launcher, zygote, job, page's server."""
        if self.calm.is_set() or draw.random() < 0.8:
            return
        kinds = ["launcher", "zygote", "job", "job", "job", "server"]
        kind = draw.choice([kind for kind in kinds if not self.did[f"{kind} killed"]] or kinds)
        if kind == "server":
            record = server.find(self.root)
            pid = record.pid if record is not None else None
        else:
            pid = self._process(kind, draw)
        if pid is None:
            return
        number = draw.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        with contextlib.suppress(psutil.Error):
            psutil.Process(pid).send_signal(number)
            self.count(f"{kind} killed")

    def _process(self, kind: str, draw: random.Random) -> int | None:
        launcher = self.launcher
        if launcher is None or launcher.poll() is not None:
            return None
        with contextlib.suppress(psutil.Error):
            if kind == "launcher":
                return launcher.pid
            zygotes = psutil.Process(launcher.pid).children()
            if kind == "zygote" and zygotes:
                return zygotes[0].pid
            jobs = [job for zygote in zygotes for job in zygote.children()]
            return draw.choice(jobs).pid if jobs else None
        return None

    def fill_up(self, draw: random.Random) -> None:
        """Fill the disk for a moment."""
        if self.calm.is_set() or draw.random() < 0.9:
            return
        filler = self.root / "filler"
        try:
            fill(filler)
            self.count("disk filled")
            time.sleep(draw.uniform(0.1, 1.5))
        finally:
            filler.unlink(missing_ok=True)
