"""Every block of README and docs that can run is run, in its page's order, and prints what the page shows."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from doc_blocks import ROOT, SHELL, Block, Page, pages, shows, steps_of
from omegaconf import OmegaConf
from pseudo_terminal import ended_on_terminal

from trainctl.config.settings import settings_of
from trainctl.rundir.paths import find_runs

PATIENCE_S = 240
PAGES = pages()
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "GLOO_SOCKET_IFNAME": "lo",
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "200",
    "LOGNAME": "me",
}


class Project:
    """A fresh directory in which the blocks of one page are run."""

    def __init__(self, folder: Path, page: Page) -> None:
        self.folder, self.page = folder, page
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, **ENVIRONMENT, "PATH": path, "HOME": str(folder)}
        self.going: list[subprocess.Popen[bytes]] = []
        for name in page.files:
            source, target = ROOT / name, folder / Path(name).name
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)

    def run(self, block: Block) -> None:
        """Write it, run it or read it, as the table in `doc_blocks` says."""
        if block.file is not None:
            place = self.folder / block.file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(block.text)
        elif block.language == "yaml":
            settings_of(OmegaConf.create({"trainctl": (OmegaConf.create(block.text) or {}).get("trainctl", {})}))
        elif block.language == "python":
            self.command(block, [sys.executable, "-c", block.before + block.text], block.prints)
        elif block.background:
            self.start(block)
        elif block.language in (*SHELL, "console"):
            for command, prints in steps_of(block):
                self.command(block, command, prints)

    def command(self, block: Block, words: str | list[str], prints: str | None) -> None:
        by_bash = ["bash", "-euo", "pipefail", "-c", words] if isinstance(words, str) else words
        if isinstance(words, str) and re.match(
            r"trainctl (?!run |replay )", words
        ):  # which write other things to a pipe
            code, printed = ended_on_terminal(by_bash, self.folder, columns=200, env=self.environment)
        else:
            done = subprocess.run(
                by_bash, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, text=True, timeout=PATIENCE_S, check=False,
            )  # fmt: skip
            code, printed = done.returncode, done.stdout
        where = f"{self.page.name}:{block.line}\n{by_bash[-1]}\n"
        if block.language != "console":  # where some commands of a block are shown to be refused
            assert (code != 0) == block.fails, f"{where}ended {code}\n{printed[-4000:]}"
        if prints is not None:
            shown = shows(prints, printed, vary=block.vary, any_order=block.any_order)
            assert shown, f"{where}printed\n{printed}\ninstead of\n{prints}"

    def start(self, block: Block) -> None:
        """Start what goes on beside the next blocks, and wait until it trains."""
        before = {run.path for run in find_runs(self.folder)}
        with (self.folder / "background.log").open("ab") as log:
            process = subprocess.Popen(
                ["bash", "-euc", block.text], cwd=self.folder, env=self.environment, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self.going.append(process)
        deadline = time.monotonic() + PATIENCE_S
        while not any(run.metrics.exists() for run in find_runs(self.folder) if run.path not in before):
            assert process.poll() is None, (self.folder / "background.log").read_text()
            assert time.monotonic() < deadline, f"{self.page.name}:{block.line} does not train"
            time.sleep(0.05)

    def close(self) -> None:
        """End what goes on, the page's servers too: each would stay for minutes, with its memory."""
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if words[1:3] == ["-m", "trainctl.panel"] and Path(words[3]).is_relative_to(self.folder):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        for process in self.going:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    for name in request.param.needs:
        pytest.importorskip(name, reason=f"{name} is not installed")
    folder = tmp_path / "project"
    folder.mkdir()
    project = Project(folder, request.param)
    yield project
    project.close()


def marks_of(page: Page) -> list[str]:
    """Return when a page is tested: README and tutorial each time."""
    return page.marks or ([] if page.name in ("README.md", "docs/tutorial.md") else ["slow"])


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "project",
    [
        pytest.param(page, id=page.name, marks=[getattr(pytest.mark, name) for name in marks_of(page)])
        for page in PAGES
        if any(block.is_run for block in page.blocks)
    ],
    indirect=True,
)
def test_blocks_of_the_page_run_in_their_order(project: Project) -> None:
    for block in project.page.blocks:
        if block.is_run:
            project.run(block)


def test_blocks_that_are_not_run_say_why() -> None:
    left = [(page, block) for page in PAGES for block in page.blocks if block.reason is not None]
    for page, block in left:
        print(f"{page.name}:{block.line} is not run: {block.reason}")
    runnable = [block for page in PAGES for block in page.blocks if block.is_run and not block.hidden]
    assert len(runnable) > 5 * len(left)
    kinds = ("the old way", "it needs", "it installs", "a proxy")
    assert [block.reason for _, block in left if not str(block.reason).startswith(kinds)] == []
