"""A run that is edited live, its replay, and both of them killed and resumed, are one and the same run, bit for bit."""

from __future__ import annotations

import os
import random
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from session_fixtures import StartToy

from trainctl.config.changelog import Edit, loads
from trainctl.rundir import files
from trainctl.rundir.events import read_events, wait_for_answer
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir

STEPS = 120
SCRIPTS = int(os.environ.get("TRAINCTL_SCRIPTS", "2"))


@dataclass(frozen=True)
class Script:
    """What happens to a run: requests after these steps; SIGKILL at the end of those."""

    requests: dict[int, dict[str, Any]]
    kills: list[int]
    every: int  # steps between two checkpoints

    @classmethod
    def draw(cls, seed: int) -> Script:
        draw = random.Random(seed)
        waits = sorted(draw.sample(range(1, STEPS - 1), 4))
        kills = sorted(draw.sample([step for step in range(2, STEPS) if step not in waits], 2))
        return cls({step: request(draw) for step in waits}, kills, draw.randint(5, 40))


def request(draw: random.Random) -> dict[str, Any]:
    """Draw what is asked for at once: some keys, of every type; sometimes by how much, sometimes to undo."""
    kind = draw.random()
    if kind < 0.2:
        return {"edits": {}, "relative": {"lr": {"op": draw.choice("*/"), "by": draw.choice(["0.5", "1.25"])}}}
    edits = {
        "lr": repr(10 ** draw.uniform(-3, -1)), "batch_size": str(draw.randint(1, 64)), "decay": repr(draw.random()),
        "momenta": repr([draw.random(), draw.choice([0, 0.5])]),
    }  # fmt: skip
    return {"edits": {key: edits[key] for key in draw.sample(sorted(edits), draw.randint(1, 3))}}


def train(
    start: StartToy, run: RunDir, script: Script, *overrides: str, live: bool, kills: bool
) -> tuple[str, list[dict[str, Any]], list[Edit]]:
    """Train to the end; return the hash of the weights, all metrics without their times, and the recorded edits."""
    asked: set[int] = set()
    kill_points = list(script.kills) if kills else []
    while True:
        waits = [step for step in script.requests if live and step not in asked]
        process = start(
            run.path, *overrides, TOY_WAIT_AT=" ".join(map(str, waits)), TOY_CHECKPOINTS=str(script.every),
            TOY_KILL_AT=str(kill_points[0] if kill_points else 0),
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if line != "waiting\n":
                break
            step = min(set(waits) - asked)
            given = script.requests[step]
            request = file_request(run, via="test", **given)
            asked.add(step)
            answer = wait_for_answer(run, request, 60)
            assert answer is not None
            assert (answer.state, answer.step) == ("applied", step + 1), answer.reason
        _, err = process.communicate(timeout=60)
        if process.returncode == -signal.SIGKILL:
            kill_points.pop(0)
            continue
        assert process.returncode == 0, err
        metrics = [{key: one[key] for key in one if key != "t"} for one in files.read_lines(run.metrics)]
        return line.strip(), metrics, loads(run.changelog.read_text()).edits


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1, 1 + SCRIPTS))
def test_live_run_is_its_replay_is_both_killed_and_resumed(tmp_path: Path, start_toy: StartToy, seed: int) -> None:
    script = Script.draw(seed)
    live = RunDir.at(tmp_path / "live")
    weights, metrics, edits = train(start_toy, live, script, "trainctl.seed=5", live=True, kills=False)
    assert [edit.step for edit in edits] == [step + 1 for step in script.requests]
    assert [one["step"] for one in metrics] == list(range(1, STEPS + 1))
    replay = f"trainctl.replay={live.path}"
    others = {
        "replay": ((replay,), False, False),
        "replay killed and resumed": ((replay,), False, True),
        "live killed and resumed": (("trainctl.seed=5",), True, True),
    }
    for name, (overrides, is_live, kills) in others.items():
        run = RunDir.at(tmp_path / name)
        assert train(start_toy, run, script, *overrides, live=is_live, kills=kills) == (weights, metrics, edits), name
        applied = [event.step for event in read_events(run) if event.state == "applied"]
        assert applied == [edit.step for edit in edits], name  # each once, however often it was killed
        attempts = files.read_mapping(run.status)["attempt"]
        assert attempts == (1 + len(script.kills) if kills else 1), name
