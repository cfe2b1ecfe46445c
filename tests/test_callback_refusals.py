"""What a run cannot begin with is refused in one sentence, before anything is made."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from task_app import CALLBACK, PRESET, Task, status_of

from trainctl.rundir import files
from trainctl.rundir.paths import find_runs

WaitUntil = Callable[..., Any]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("+trainctl.edditable=true", r"trainctl\.edditable is not a setting; allowed are controls, drift, editable, "),
        (
            "trainctl.poll_s=often",
            r"trainctl\.poll_s(: |=often\n *)Value 'often' of type 'str' could not be converted to Float",
        ),
        ("trainctl.drift=maybe", "trainctl.drift='maybe' is not known; allowed are error and allow"),
        ("trainctl.track=[comet]", "trainctl.track='comet' is not a tracker; allowed are mlflow, tensorboard, wandb"),
        ("trainctl.seed=-1", "trainctl.seed must be between 0 and 4294967295 but got -1"),
        ("trainctl.panel.port=99999", "trainctl.panel.port must be between 0 and 65535 but got 99999"),
        ("trainctl.replay=nowhere", "trainctl.replay='.*nowhere': there is no '.*nowhere'; give a run dir or a"),
        ("trainctl.replay=conf/config.yaml", "trainctl.replay='.*': .* is not a changelog: 'defaults' is not a step"),
        ("trainctl.replay=torn.yaml", r"trainctl\.replay='.*torn\.yaml': .*torn\.yaml'"),
        ("trainctl.replay=other.yaml", r"\(lr: recorded 0\.7, now 0\.1\); start from the same config"),
        ("hydra.run.dir=app.py", r"run dir '.*/app\.py' cannot be made: .*app\.py' is a file; choose another with"),
        ("hydra.run.dir=app.py/below", r"run dir '.*/app\.py/below' cannot be made: '.*/app\.py' is a file; choose"),
    ],
)
@pytest.mark.parametrize("config", [PRESET, CALLBACK], ids=["preset", "callback"])
def test_bad_input_is_one_sentence_before_anything_is_made(
    task: Task, config: str, override: str, sentence: str
) -> None:
    if config == CALLBACK and override.startswith("trainctl."):
        override = f"+{override}"
    task.configure(config)
    (task.path / "torn.yaml").write_text("0: {lr: 0.1")
    (task.path / "other.yaml").write_text("0: {lr: 0.7, mode: ok}\n2: {lr: 0.2}\n")
    before = task.made()
    done = task.run(override)
    assert done.returncode == 1
    said = done.stderr.strip().splitlines()
    assert "Traceback" not in done.stderr
    assert re.search(sentence, done.stderr), done.stderr
    assert len(said) == 1 or "Set the environment variable HYDRA_FULL_ERROR" in done.stderr, said
    assert done.stdout == ""
    assert task.made() == before


def test_run_dir_in_use_is_left_as_it_is(task: Task) -> None:
    with task.waiting("hydra.run.dir=here"):
        before = {path: path.read_bytes() for path in (task.path / "here").rglob("*.yaml")}
        done = task.run("hydra.run.dir=here", "lr=0.9")
        assert done.returncode == 1
        assert re.fullmatch(r"'.*here' is in use by a run that is still going; .*\n", done.stderr)
        assert {path: path.read_bytes() for path in before} == before


def test_run_dir_of_another_config_is_left_as_it_is(task: Task) -> None:
    assert task.run("hydra.run.dir=here").returncode == 0
    before = {path: path.read_bytes() for path in (task.path / "here").rglob("*.*") if path.is_file()}
    done = task.run("hydra.run.dir=here", "lr=0.9")
    assert done.returncode == 1
    assert re.search(r"\(lr: recorded 0\.1, now 0\.9\); a run dir holds one run: choose another", done.stderr)
    assert {path: path.read_bytes() for path in before} == before


def test_replay_that_was_not_the_same_run_ends_with_an_error(task: Task) -> None:
    (task.path / "recorded.yaml").write_text("0: {lr: 0.1, mode: ok}\n2: {lr: 0.2}\n900: {lr: 0.3}\n")
    done = task.run("trainctl.replay=recorded.yaml")
    assert done.returncode == 1
    assert "the run ended at step 3, but the replayed recorded.yaml has edits at steps 900" in done.stderr
    run = task.only_run()
    assert status_of(run).state == "failed"
    assert [record["lr"] for record in files.read_lines(run.metrics)] == [0.1, 0.2, 0.2]


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("trainctl.drift=maybe", "trainctl.drift='maybe' is not known; allowed are error and allow"),
        ("trainctl.track=[comet]", "trainctl.track='comet' is not a tracker; allowed are mlflow, tensorboard, wandb"),
    ],
)
def test_bad_setting_stops_a_sweep_before_anything_is_made(task: Task, setting: str, sentence: str) -> None:
    done = task.run("-m", "lr=1,2", setting)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert not find_runs(task.path)
