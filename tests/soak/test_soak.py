"""Sweeps train while everything happens to them at once; then the books are checked.

`make soak` lasts ten minutes, `make soak SOAK_S=60` one. `TRAINCTL_SOAK_SEED` draws the same acts again; when they
happen depends on the machine.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from actors import CHROMIUM, Soak
from books import check_completed, check_replay, check_requests
from disks import PAGE
from soak_app import soak_app

from trainctl.rundir.paths import RunDir

SECONDS = float(os.environ.get("TRAINCTL_SOAK_S", "40"))
SEED = int(os.environ.get("TRAINCTL_SOAK_SEED", "0")) or random.randrange(1, 10**6)
JOBS = 5


@pytest.fixture
def small_root(tmp_path: Path) -> Iterator[tuple[Path, bool]]:
    """A file system of 24 MiB, and True; where mounting is not permitted a directory, which is never filled."""
    root = tmp_path / "runs"
    root.mkdir()
    options = f"size={24 * 256 * PAGE},mode=700"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", root], capture_output=True, check=False)
    yield root, mounted.returncode == 0
    if mounted.returncode == 0:
        subprocess.run(["umount", "-l", root], check=True)


@pytest.mark.long
@pytest.mark.timeout(6 * SECONDS + 600)
def test_books_are_right_after_edits_kills_and_full_disks_all_at_once(
    tmp_path: Path, small_root: tuple[Path, bool]
) -> None:
    root, is_small = small_root
    home = tmp_path / "app"
    home.mkdir()
    soak = Soak(soak_app(home, root), root, SEED, is_small)
    print(f"TRAINCTL_SOAK_SEED={SEED}")
    threads = soak.start()
    try:
        end, number = time.monotonic() + SECONDS, 0
        while time.monotonic() < end:
            number += 1
            complete(soak, number, end)
            check_sweep(soak, number)
            shutil.rmtree(root / f"sweep-{number}")  # the disk is small
    finally:
        soak.stopped.set()
        for thread in threads:
            thread.join(120)
        soak.app.end()
        soak.end_page()
    print(dict(soak.did))
    assert not soak.failures, "\n".join(soak.failures)
    expected = ["requests applied", "requests by file", "requests by command", "runs replayed to the same hash"]
    if SECONDS >= 120 and CHROMIUM:
        expected += ["requests of the page answered"]
    if SECONDS >= 300:
        kills = [f"{kind} killed" for kind in ("launcher", "zygote", "job", "server")]
        expected += [*kills, *(["disk filled"] if is_small else [])]
    assert [what for what in expected if not soak.did[what]] == [], "these did not happen"


def complete(soak: Soak, number: int, end: float) -> None:
    """Run one sweep, by the same command until it has ended well; once the time is over, nobody kills or fills."""
    tries = 0
    while True:
        if time.monotonic() > end:
            soak.calm.set()
            (soak.root / "filler").unlink(missing_ok=True)
        command = soak.app.command(
            f"x=range({JOBS})", "hydra.launcher.slots=2", f"hydra.sweep.dir={soak.root}/sweep-{number}"
        )
        with (soak.app.path / "output.txt").open("ab") as output:
            soak.launcher = subprocess.Popen(
                command, cwd=soak.app.path, stdout=output, stderr=output, start_new_session=True
            )
            code = soak.launcher.wait(timeout=300)
        soak.count("commands of the sweep")
        if code == 0:
            return
        tries += 1
        if tries > 12:
            soak.calm.set()
        said = (soak.app.path / "output.txt").read_text()[-6000:]
        assert tries < 16, f"the sweep did not complete though nobody disturbs it any more:\n{said}"


def check_sweep(soak: Soak, number: int) -> None:
    """Check the books of a sweep that has ended well."""
    calm = soak.calm.is_set()
    soak.calm.set()
    (soak.root / "filler").unlink(missing_ok=True)
    try:
        sweep = soak.root / f"sweep-{number}"
        ran = soak.app.ran()
        runs = [RunDir.at(path.parent) for path in sorted(sweep.glob("*/run.yaml"))]
        assert len(runs) == JOBS, [run.path.name for run in runs]
        again = soak.app.run(f"x=range({JOBS})", "hydra.launcher.slots=2", f"hydra.sweep.dir={sweep}")
        assert again.returncode == 0, again.stdout + again.stderr
        assert soak.app.ran() == ran, "a run that was complete has run again"
        for run in runs:
            check_completed(run)
            soak.did += check_requests(run, soak.asked.pop(run.path, []))
            check_replay(run)
            soak.count("runs replayed to the same hash")
    finally:
        if not calm:
            soak.calm.clear()
