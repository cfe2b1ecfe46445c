"""A run whose ranks are started by its own process: one of them opens its live session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from rank_processes import HERE, LOOPBACK, PATIENCE_S, ask

from trainctl.attempt import attempt
from trainctl.config.yaml import loads
from trainctl.rundir.events import read_events
from trainctl.rundir.files import write_atomic
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status, state_of
from trainctl.session.api import live

CONFIG = {"lr": 0.1, "trainctl": {"seed": None}}
StartGuest = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def host(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> Iterator[attempt.Attempt]:
    monkeypatch.setattr("trainctl.attempt.process.own.session", None)  # what another test of this process has left
    begun = attempt.begin(run, config=OmegaConf.create(CONFIG))
    yield begun
    begun.end("done", exit_code=0)


@pytest.fixture
def start_guest(tmp_path: Path) -> Iterator[StartGuest]:
    """Start a guest in `tmp_path/elsewhere`, as rank 0 unless said otherwise."""
    started: list[subprocess.Popen[str]] = []

    def start(run_dir: Path | str, *, rank: str = "0") -> subprocess.Popen[str]:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        started.append(
            subprocess.Popen(
                [sys.executable, str(HERE / "guest_app.py"), str(run_dir), str(tmp_path / "go")],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=elsewhere,
                env={**os.environ, "RANK": rank},
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return line.split()


def failed(process: subprocess.Popen[str]) -> str:
    _, error = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    return error.splitlines()[-1]


def metrics(run: RunDir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


@pytest.mark.parametrize("names_it", [True, False])
def test_rank_that_a_run_starts_has_its_session_seed_and_edits(
    host: attempt.Attempt, start_guest: StartGuest, run: RunDir, tmp_path: Path, names_it: bool
) -> None:
    guest = start_guest(run.path if names_it else "-")
    assert said(guest) == [str(run.path), str(host.seed), "Guest"]
    ask(run, {"lr": 0.5}, at=1)
    write_atomic(tmp_path / "go", "1")
    assert guest.wait(timeout=PATIENCE_S) == 0
    assert [(record["step_of_guest"], record["lr"]) for record in metrics(run) if "lr" in record] == [(1, 0.5)]
    assert [event.step for event in read_events(run) if event.is_final] == [1]
    assert state_of(run) == "running"
    host.end("done", value=3, exit_code=0)
    assert loads(run.result.read_text())["value"] == 3
    assert loads(run.run.read_text())["keys"]["lr"]["type"] == "float"
    status = read_status(run)
    assert status is not None
    assert status.pid == os.getpid()


def test_second_guest_is_refused_until_the_first_has_gone(
    host: attempt.Attempt, start_guest: StartGuest, run: RunDir, tmp_path: Path
) -> None:
    first = start_guest(run.path)
    said(first)
    assert "is open in another process that its job has started; only one of them, rank 0" in failed(start_guest("-"))
    first.kill()
    first.wait()
    third = start_guest("-")
    assert said(third)[2] == "Guest"
    write_atomic(tmp_path / "go", "0")
    assert third.wait(timeout=PATIENCE_S) == 0


def test_run_that_has_its_session_itself_has_no_guests(
    host: attempt.Attempt, start_guest: StartGuest, run: RunDir
) -> None:
    live(OmegaConf.create(CONFIG))
    assert "is in use by a run that is still going" in failed(start_guest(run.path))


def test_program_that_is_not_a_rank_does_not_get_the_run_of_its_job(
    host: attempt.Attempt, start_guest: StartGuest, run: RunDir, tmp_path: Path
) -> None:
    path, _, kind = said(start_guest("-", rank=""))
    assert (path, kind) == ("None", "IdleLive")
    path, _, kind = said(start_guest(tmp_path / "own", rank=""))
    assert (path, kind) == (str(tmp_path / "own"), "Attempt")


def test_run_that_has_ended_offers_nothing(host: attempt.Attempt) -> None:
    assert "TRAINCTL_RUN" in os.environ
    host.end("done", exit_code=0)
    assert not {name for name in os.environ if name in ("TRAINCTL_RUN", "TRAINCTL_SEED", "TRAINCTL_SESSION")}


RANKS_AFTER_LIVE = """
import sys
import multiprocessing
from omegaconf import OmegaConf
import trainctl

def rank(meeting):
    import torch.distributed
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
    trainctl.live(OmegaConf.create({"lr": 0.1}))

if __name__ == "__main__":
    trainctl.live(OmegaConf.create({"lr": 0.1}), run_dir="run")
    process = multiprocessing.get_context("spawn").Process(target=rank, args=(f"file://{sys.argv[1]}",))
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""


@pytest.mark.slow
def test_rank_of_a_program_that_has_opened_the_session_before_is_told_so_and_records_nowhere(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    (tmp_path / "ranks.py").write_text(RANKS_AFTER_LIVE)
    done = subprocess.run(
        [sys.executable, "ranks.py", str(tmp_path / "meeting")],
        cwd=tmp_path, env={**os.environ, **LOOPBACK}, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert (
        "is open in the process that has started this rank; call trainctl.live(cfg) in the ranks alone" in done.stderr
    )
    assert not (tmp_path / "outputs").exists()
