"""A program whose process ends before its task returns has its result all the same: `live.done(value)`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trainctl.config import yaml
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status, state_of

PROGRAM = """
import ctypes, os, signal, sys
import hydra, trainctl

def end(how):
    if how == "os_exit": os._exit(0)
    if how == "exit": sys.exit()
    if how == "exit_0": sys.exit(0)
    if how == "quit": quit()
    if how == "exit_3": sys.exit(3)
    if how == "exit_text": sys.exit("no data")
    if how == "raise": raise ValueError("in the simulator's close")
    if how == "crash": ctypes.string_at(0)
    if how == "kill": os.kill(os.getpid(), signal.SIGKILL)

@hydra.main(version_base=None, config_path=None, config_name="config")
def main(cfg):
    live = trainctl.live(cfg)
    for step in live.track(range(3)):
        live.log(loss=cfg.lr / (step + 1))
    if cfg.closes: live.close()
    if cfg.done: live.done(cfg.lr * 10)
    end(cfg.how)
    return 77

if __name__ == "__main__":
    from hydra.core.config_store import ConfigStore
    node = {"lr": 0.1, "how": "none", "done": True, "closes": False, "trainctl": {"panel": {"enabled": False}}}
    ConfigStore.instance().store("config", {"defaults": ["trainctl", "_self_"], **node})
    main()
"""
SHOWING = """
    from hydra._internal.hydra import Hydra
    own = Hydra.multirun
    def multirun(*arguments, **options):
        jobs = own(*arguments, **options)[0]
        print([(job.return_value, job.cfg.lr, job.overrides[0]) for job in jobs])
    Hydra.multirun = multirun
    main()
"""
ENDINGS = ("os_exit", "exit", "exit_0", "quit", "exit_3", "raise", "crash", "kill", "none")
AFTER = {
    "exit_3": "after live.done: the job called sys.exit(3)",
    "raise": "after live.done: ValueError: in the simulator's close",
}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "sim.py"
    path.write_text(PROGRAM)
    return path


def launch(program: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(program), *overrides],
        cwd=program.parent, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def recorded(run: Path) -> tuple[str, float | None, str | None]:
    at = RunDir.at(run)
    status = read_status(at)
    assert status is not None
    value = yaml.loads(at.result.read_text())["value"] if at.result.exists() else None
    return state_of(at), value, status.reason


@pytest.mark.parametrize("how", ENDINGS)
def test_run_that_said_done_is_done_however_its_process_ends(program: Path, how: str) -> None:
    launch(program, f"how={how}", "hydra.run.dir=run")
    assert recorded(program.parent / "run") == ("done", 1.0, AFTER.get(how))
    rows = (program.parent / "run/metrics.jsonl").read_text().splitlines()
    assert len(rows) == 3


@pytest.mark.slow
@pytest.mark.parametrize("rerun", ["failed", "all"])
def test_job_that_said_done_is_done_and_skipped_at_the_next_time(program: Path, rerun: str) -> None:
    sweep = ["-m", f"how={','.join(ENDINGS)}", "hydra.sweep.dir=sweep", f"hydra.launcher.rerun={rerun}"]
    first = launch(program, *sweep)
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("DONE") == len(ENDINGS)
    for how in ENDINGS:
        assert recorded(program.parent / f"sweep/How_{how}") == ("done", 1.0, AFTER.get(how))
    assert launch(program, *sweep[:-1]).stderr.count("SKIP") == len(ENDINGS)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_sweep_gets_the_value_of_a_job_whose_process_ended_itself(program: Path, start: str) -> None:
    wrapper = program.with_name("wrapper.py")
    wrapper.write_text(program.read_text().replace("    main()\n", SHOWING))
    for _ in range(2):
        done = launch(
            wrapper,
            "-m",
            "lr=0.1,0.2",
            "how=os_exit",
            "closes=true",
            "hydra.sweep.dir=sweep",
            f"hydra.launcher.start={start}",
        )
        assert "[(1.0, 0.1, 'lr=0.1'), (2.0, 0.2, 'lr=0.2')]" in done.stdout, done.stderr


def test_job_that_ends_its_process_without_done_fails_and_says_what_to_do(program: Path) -> None:
    failed = launch(program, "-m", "how=os_exit", "done=false", "hydra.sweep.dir=sweep", "hydra.sweep.subdir=run")
    sentence = "ended its process with exit code 0 before its task returned; "
    sentence += "a task that does not return calls live.done(value) first"
    assert failed.returncode == 1
    assert sentence in failed.stderr
    assert recorded(program.parent / "sweep/run") == ("failed", None, sentence)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "code", "state", "reason"),
    [
        ("exit", 0, "done", None),
        ("exit_0", 0, "done", None),
        ("quit", 0, "done", None),
        ("exit_3", 3, "failed", "the job called sys.exit(3)"),
        ("exit_text", 1, "failed", "the job called sys.exit('no data')"),
    ],
)
@pytest.mark.parametrize("launcher", ["single", "basic", "slots"])
def test_sys_exit_0_is_a_normal_end_without_a_value(
    program: Path, launcher: str, how: str, code: int, state: str, reason: str | None
) -> None:
    sweep = [] if launcher == "single" else ["-m", f"hydra/launcher={launcher}"]
    done = launch(program, *sweep, f"how={how}", "done=false", "hydra.run.dir=run", "hydra.sweep.dir=.",
                  "hydra.sweep.subdir=run")  # fmt: skip
    assert done.returncode == (1 if launcher == "slots" and code else code), done.stderr
    assert recorded(program.parent / "run") == (state, None, reason)


def test_done_after_a_replay_that_was_not_the_same_run_fails(program: Path) -> None:
    (program.parent / "edits.yaml").write_text("0: {}\n9: {lr: 0.3}\n")
    failed = launch(program, "how=os_exit", "hydra.run.dir=run", "trainctl.replay=edits.yaml", "trainctl.drift=allow")
    assert failed.returncode == 1
    state, value, reason = recorded(program.parent / "run")
    assert (state, value) == ("failed", None)
    assert "9" in str(reason)
    assert str(reason) in failed.stderr


def test_session_is_not_opened_again_after_done(program: Path) -> None:
    text = program.read_text().replace("end(cfg.how)", "trainctl.live(cfg)")
    program.write_text(text)
    failed = launch(program, "hydra.run.dir=run")
    assert "has said live.done()" in failed.stderr
    assert recorded(program.parent / "run")[0] == "done"


TWICE = """
import trainctl
from omegaconf import OmegaConf

def train(run_dir, lr):
    live = trainctl.live(OmegaConf.create({"lr": lr}), run_dir=run_dir)
    for step in live.track(range(3)):
        live.log(loss=lr / (step + 1))
    live.done(lr)

train("first", 0.1)
train("second", 0.2)
train("first", 0.1)  # the cell is run again
"""


def test_process_without_hydra_has_one_run_after_another(tmp_path: Path) -> None:
    (tmp_path / "cells.py").write_text(TWICE)
    done = launch(tmp_path / "cells.py")
    assert done.returncode == 0, done.stderr
    assert recorded(tmp_path / "first") == ("done", 0.1, None)
    assert recorded(tmp_path / "second") == ("done", 0.2, None)
    status = read_status(RunDir.at(tmp_path / "first"))
    assert status is not None
    assert status.attempt == 2


def test_script_that_may_not_go_on_there_leaves_the_finished_run_as_it_is(tmp_path: Path) -> None:
    script = tmp_path / "plain.py"
    text = """
import trainctl
from omegaconf import OmegaConf

trainctl.live(OmegaConf.create({"lr": LR, "trainctl": {"seed": None, "replay": REPLAY}}), run_dir="run").step()
"""
    before = {}
    for rate, replay, refusal in ((0.1, None, None), (0.2, None, "lr: recorded 0.1, now 0.2"), (0.1, "gone", "gone")):
        script.write_text(text.replace("LR", str(rate)).replace("REPLAY", repr(replay)))
        done = launch(script)
        status = read_status(RunDir.at(tmp_path / "run"))
        assert status is not None
        assert (status.state, status.attempt) == ("done", 1)
        files = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.suffix == ".yaml"}
        if refusal is None:
            before = files
            assert done.returncode == 0, done.stderr
        else:
            assert (done.returncode, files) == (1, before)
            assert refusal in done.stderr
