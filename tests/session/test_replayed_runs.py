from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from session_fixtures import StartToy, metrics

from trainctl.config.changelog import Changelog, Edit, loads
from trainctl.rundir import files
from trainctl.rundir.events import read_events, wait_for_answer
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status

pytestmark = pytest.mark.timeout(300)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.strip()


@pytest.fixture
def edited(tmp_path: Path, start_toy: StartToy) -> tuple[RunDir, str]:
    """A run that was edited live: two edits in one request, later a third; and the hash of its weights."""
    run = RunDir.at(tmp_path / "edited")
    process = start_toy(run.path, TOY_WAIT_AT="30 60")
    answers = []
    for edit, note in (({"lr": "0.01", "batch_size": "32"}, "calmer"), ({"momenta": "[0.5, 0.25]"}, None)):
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n", process.communicate()
        answers.append(wait_for_answer(run, file_request(run, edit, via="cli", note=note), 60))
    assert [answer and answer.state for answer in answers] == ["applied", "applied"]
    return run, finish(process)


def edits(run: RunDir) -> list[Edit]:
    return loads(run.changelog.read_text()).edits


def test_replay_in_a_new_process_ends_with_equal_weights_and_metrics(
    edited: tuple[RunDir, str], tmp_path: Path, start_toy: StartToy
) -> None:
    run, weights = edited
    first, second = edits(run)
    assert (first.values, second.values) == ({"lr": 0.01, "batch_size": 32}, {"momenta": [0.5, 0.25]})
    replay = RunDir.at(tmp_path / "replay")
    assert finish(start_toy(replay.path, f"trainctl.replay={run.path}")) == weights
    assert metrics(replay) == metrics(run)
    assert len(metrics(run)) == 120
    assert {record["lr"] for record in metrics(run)} == {0.05, 0.01}
    assert edits(replay) == edits(run)
    again = RunDir.at(
        tmp_path / "again"
    )  # a replay is a run like any other: it can be replayed itself, from a copy too
    copied = tmp_path / "copied.yaml"
    copied.write_text(replay.changelog.read_text())
    seed = files.read_mapping(run.run)["seed"]
    command = (f"trainctl.replay={copied}", f"trainctl.seed={seed}")
    assert finish(start_toy(again.path, *command)) == weights
    assert metrics(again) == metrics(run)


def test_replay_one_step_off_is_another_run(edited: tuple[RunDir, str], tmp_path: Path, start_toy: StartToy) -> None:
    run, weights = edited
    shifted = tmp_path / "shifted.yaml"
    step = edits(run)[0].step
    shifted.write_text(re.sub(rf"^{step}:", f"{step + 1}:", run.changelog.read_text(), flags=re.MULTILINE))
    assert loads(shifted.read_text()) == Changelog(
        loads(run.changelog.read_text()).base, [Edit(step + 1, edits(run)[0].values), edits(run)[1]]
    )
    other = RunDir.at(tmp_path / "other")
    seed = files.read_mapping(run.run)["seed"]
    command = (f"trainctl.replay={shifted}", f"trainctl.seed={seed}")
    assert finish(start_toy(other.path, *command)) != weights
    assert metrics(other)[: step - 1] == metrics(run)[: step - 1]
    assert metrics(other) != metrics(run)


def test_killed_run_started_again_repeats_its_own_edits(
    edited: tuple[RunDir, str], tmp_path: Path, start_toy: StartToy
) -> None:
    run, weights = edited
    before = run.changelog.read_text()
    assert finish(start_toy(run.path)) == weights
    assert run.changelog.read_text() == before
    status = read_status(run)
    assert status is not None
    assert (status.attempt, status.state) == (2, "done")
    assert sum(event.state == "applied" for event in read_events(run)) == 2


def test_replay_of_another_config_is_refused_unless_drift_is_allowed(
    edited: tuple[RunDir, str], tmp_path: Path, start_toy: StartToy
) -> None:
    run, _ = edited
    command = (f"trainctl.replay={run.path}", "x=7", "decay=0.5")
    refused = start_toy(tmp_path / "refused", *command)
    _, err = refused.communicate(timeout=60)
    assert refused.returncode == 1
    assert re.search(
        r"DriftError: .*\(decay: recorded '\$\{lr\}', now 0\.5; x: recorded 0, now 7\); .*drift=allow", err
    )
    allowed = RunDir.at(tmp_path / "allowed")
    finish(start_toy(allowed.path, *command, "trainctl.drift=allow"))
    assert edits(allowed) == edits(run)


def test_replay_that_ends_before_a_recorded_edit_fails(
    edited: tuple[RunDir, str], tmp_path: Path, start_toy: StartToy
) -> None:
    run, _ = edited
    replay = RunDir.at(tmp_path / "short")
    process = start_toy(replay.path, f"trainctl.replay={run.path}", "trainctl.drift=allow", "steps=20")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert len(out.strip()) == 64  # all was printed
    assert "has edits at steps" in err
    status = read_status(replay)
    assert status is not None
    assert status.state == "failed"
    assert re.search(r"ended at step 20, but the replayed .* has edits at steps \d+, \d+;", status.reason or "")
