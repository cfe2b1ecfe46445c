"""Runs that are edited live under `-m`, two slots at once, come back bit for bit when they are replayed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from session_fixtures import metrics

from trainctl.config.changelog import loads
from trainctl.rundir import files
from trainctl.rundir.events import wait_for_answer
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir, find_runs
from trainctl.rundir.result import read_result
from trainctl.rundir.status import state_of

WaitUntil = Callable[..., Any]
pytestmark = pytest.mark.timeout(600)

# A linear model by minibatch SGD with a list of momenta. `waits` says after which steps it waits for one more request.
TRAINING = """
import hashlib, time
import hydra, numpy as np, trainctl
from hydra.core.hydra_config import HydraConfig

def wait_for_request(live):
    deadline = time.monotonic() + 120
    while not live._taken:  # not the event that says so: it is written before the request can be applied
        assert time.monotonic() < deadline, "no request came"
        time.sleep(0.002)

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    live = trainctl.live(cfg)
    data = np.random.default_rng(0).normal(size=(64, 4))
    target = data @ np.arange(4.0)
    weights, speeds = np.zeros(4), np.zeros((2, 4))
    for _ in live.track(range(40)):
        rows = np.random.randint(0, len(data), size=live.now.batch_size)
        error = data[rows] @ weights - target[rows]
        gradient = data[rows].T @ error / len(rows)
        speeds = np.array(live.now.momenta)[:, None] * speeds + gradient
        weights = weights - live.now.optim.lr * speeds.mean(axis=0)
        live.log(loss=np.mean(error**2), lr=cfg.optim.lr, batch_size=cfg.batch_size, momenta=list(cfg.momenta))
        if HydraConfig.get().trainctl.replay is None and live.step_number in cfg.waits:
            wait_for_request(live)
    return hashlib.sha256(weights.tobytes()).hexdigest()

if __name__ == "__main__":
    main()
"""

CONFIG = """
defaults: [trainctl, _self_]
optim: {lr: 0.05}
batch_size: 8
momenta: [0.9, 0.5]
x: 0
waits: [10, 20]
trainctl: {poll_s: 0.005, panel: {enabled: false}}
"""
EDITS = {
    1: [{"optim.lr": "0.01", "batch_size": "16"}, {"momenta": "[0.5, 0.25]"}],
    2: [{"optim.lr": "0.2", "momenta": "[0.1, 0.0]"}, {"batch_size": "4"}],
}


class Training:
    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "train.py").write_text(TRAINING)
        (path / "conf").mkdir()
        (path / "conf" / "config.yaml").write_text(CONFIG)
        self.root = path / "outputs" / "train"

    def command(self, *overrides: str) -> list[str]:
        return [sys.executable, "train.py", "-m", "hydra.launcher.slots=2", *overrides]

    def run(self, *overrides: str) -> str:
        """Run a sweep; return what it said."""
        done = subprocess.run(
            self.command(*overrides), cwd=self.path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stderr

    def runs(self) -> set[RunDir]:
        return {RunDir.at(path) for path in self.root.iterdir() if not path.name.startswith(".") and path.is_dir()}


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Training, dict[int, RunDir]]:
    """Two runs, trained at once on two slots, each edited twice in the middle; the requests are filed in turn."""
    training = Training(tmp_path_factory.mktemp("edited"))
    sweep = subprocess.Popen(
        training.command("x=1,2"), cwd=training.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={name: text for name, text in os.environ.items() if not name.startswith("TRAINCTL_")},
    )  # fmt: skip
    try:
        runs = {x: RunDir.at(training.root / f"X_{x}") for x in EDITS}
        for number in range(2):
            for x, run in runs.items():
                wait_for_step(run, sweep, 10 * (number + 1))
                request = file_request(run, EDITS[x][number], via="cli")
                answer = wait_for_answer(run, request, 120)
                assert answer is not None
                assert answer.state == "applied", answer.reason
        output, _ = sweep.communicate(timeout=120)
        assert sweep.returncode == 0, output
    finally:
        sweep.kill()
        sweep.wait()
        assert sweep.stdout is not None
        sweep.stdout.close()
    return training, runs


def wait_for_step(run: RunDir, sweep: subprocess.Popen[str], step: int) -> None:
    from sweep_app import wait_until

    def is_there() -> bool:
        assert sweep.poll() is None, sweep.communicate()[0]
        return any(record["step"] == step for record in files.read_lines(run.metrics))

    wait_until(is_there, f"{run.name} waits after step {step}")


def replays_of(training: Training, source: RunDir) -> list[RunDir]:
    return [run for run in training.runs() if files.read_mapping(run.run).get("parent") == str(source.path)]


def assert_same_run(one: RunDir, other: RunDir) -> None:
    assert state_of(one) == state_of(other) == "done"
    assert read_result(one) == read_result(other)
    assert metrics(one) == metrics(other)
    assert len(metrics(one)) == 40
    assert loads(one.changelog.read_text()).edits == loads(other.changelog.read_text()).edits
    assert files.read_mapping(one.run)["seed"] == files.read_mapping(other.run)["seed"]


def test_runs_were_edited_in_the_middle(edited: tuple[Training, dict[int, RunDir]]) -> None:
    _, runs = edited
    for x, run in runs.items():
        changes = loads(run.changelog.read_text()).edits
        assert [sorted(edit.values) for edit in changes] == [sorted(keys) for keys in EDITS[x]]
        assert [edit.step for edit in changes] == [11, 21]
        assert len({record["lr"] for record in metrics(run)}) == 2
    assert read_result(runs[1]) != read_result(runs[2])


@pytest.mark.slow
def test_sweep_over_two_replays_on_two_slots_ends_with_equal_weights_and_metrics(
    edited: tuple[Training, dict[int, RunDir]],
) -> None:
    training, runs = edited
    said = training.run(f"trainctl.replay={runs[1].path},{runs[2].path}", "trainctl.drift=allow")
    assert "2 jobs: 2 done" in said
    for source in runs.values():
        (replay,) = replays_of(training, source)
        assert_same_run(replay, source)
        assert re.fullmatch(rf"TrainctlReplay_{source.name}-[0-9a-f]{{8}}", replay.name)
        assert shlex.quote(replay.name) == replay.name
    again = training.run(f"trainctl.replay={runs[1].path},{runs[2].path}", "trainctl.drift=allow")
    assert "2 jobs: 2 skipped" in again


def test_replay_of_one_run_in_two_jobs_at_once_gives_it_twice(edited: tuple[Training, dict[int, RunDir]]) -> None:
    training, runs = edited
    training.run(f"trainctl.replay={runs[2].path}", "x=2", "+copy=a,b", "trainctl.drift=allow", "hydra.sweep.dir=twice")
    for name in ("Copy_a", "Copy_b"):
        assert_same_run(RunDir.at(training.path / "twice" / name), runs[2])


@pytest.mark.slow
@pytest.mark.parametrize("by", [-1, 1])
def test_replay_one_step_off_is_another_run(edited: tuple[Training, dict[int, RunDir]], by: int) -> None:
    training, runs = edited
    text = runs[1].changelog.read_text()
    step = loads(text).edits[0].step
    shifted = training.path / f"shifted_{by}.yaml"
    shifted.write_text(re.sub(rf"^{step}:", f"{step + by}:", text, flags=re.MULTILINE))
    training.run(f"trainctl.replay={shifted}", "x=1", f"hydra.sweep.dir=off{by}")
    (other,) = [RunDir.at(path) for path in (training.path / f"off{by}").glob("*-*")]
    assert read_result(other) != read_result(runs[1])
    before = min(step, step + by) - 1
    assert metrics(other)[:before] == metrics(runs[1])[:before]
    assert metrics(other)[before:] != metrics(runs[1])[before:]


def test_replay_of_another_config_fails_its_job_alone(edited: tuple[Training, dict[int, RunDir]]) -> None:
    training, runs = edited
    command = training.command(f"trainctl.replay={runs[1].path}", "x=1,7", "hydra.sweep.dir=drift")
    done = subprocess.run(command, cwd=training.path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "(x: recorded 1, now 7)" in done.stderr
    assert state_of(RunDir.at(training.path / "drift" / "X_7")) == "failed"
    assert_same_run(RunDir.at(training.path / "drift" / "X_1"), runs[1])


def test_what_is_no_axis_must_be_as_recorded_in_a_sweep_over_replays_too(
    edited: tuple[Training, dict[int, RunDir]],
) -> None:
    training, runs = edited
    command = training.command(
        f"trainctl.replay={runs[1].path},{runs[2].path}", "x=1,2", "batch_size=9", "hydra.sweep.dir=constant"
    )
    done = subprocess.run(command, cwd=training.path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.count("(batch_size: recorded 8, now 9)") >= 4


def test_replays_and_another_swept_key_are_all_pairs_in_run_dirs_that_tell_them_apart(
    edited: tuple[Training, dict[int, RunDir]],
) -> None:
    training, runs = edited
    options = ("hydra.sweep.dir=pairs", "hydra.launcher.slots=2")
    said = training.run(f"trainctl.replay={runs[1].path},{runs[2].path}", "x=5,6", *options)
    assert "4 jobs: 4 done" in said
    found = find_runs(training.path / "pairs")
    pairs = set()
    for run in found:
        match = re.fullmatch(r"TrainctlReplay_X_([12])-X_([56])-[0-9a-f]{8}", run.name)
        assert match is not None, run.name
        source, x = runs[int(match[1])], int(match[2])
        pairs.add((source, x))
        assert files.read_mapping(run.run)["parent"] == str(source.path)
        assert loads(run.changelog.read_text()).base["x"] == x
        assert loads(run.changelog.read_text()).edits == loads(source.changelog.read_text()).edits
        assert metrics(run) == metrics(source)  # x changes nothing in this training
    assert len(pairs) == 4
