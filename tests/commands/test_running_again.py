"""Which commands run again: forced, tried again, taken out for a while, hidden behind others."""

from __future__ import annotations

import pytest
from pipelines import Pipeline

NOTE = "echo {} >> ran.txt"


@pytest.mark.slow
def test_forced_commands_run_once_though_a_later_one_is_tried_again(pipeline: Pipeline) -> None:
    last = f"{NOTE.format('test')}; [ $(grep -c test ran.txt) -ge 3 ]"
    pipeline.write({"train": NOTE.format("train"), "test": last})
    again = ("hydra.launcher.retries=2", "hydra.launcher.retry_on=[error]")
    assert pipeline.run("--force", *again).returncode == 0
    assert pipeline.ran() == ["train", "test", "test", "test"]
    assert pipeline.run("--force", *again).returncode == 0
    assert pipeline.ran()[4:] == ["train", "test"]


@pytest.mark.slow
def test_rerun_all_runs_all_commands_again(pipeline: Pipeline) -> None:
    pipeline.write({"train": NOTE.format("train"), "test": NOTE.format("test")})
    assert pipeline.run().returncode == 0
    assert "train: echo train" in pipeline.run("hydra.launcher.rerun=all", "--dry-run").stdout
    assert pipeline.run("hydra.launcher.rerun=all").returncode == 0
    assert pipeline.ran() == ["train", "test"] * 2


@pytest.mark.slow
def test_command_that_is_taken_out_for_a_while_has_not_lost_what_it_did(pipeline: Pipeline) -> None:
    commands = {name: NOTE.format(name) for name in ("train", "avg", "test")}
    pipeline.write(commands)
    assert pipeline.run().returncode == 0
    pipeline.write({"test": NOTE.format("other")})
    assert pipeline.run().returncode == 0
    assert pipeline.states() == {"train": "done", "avg": "done", "test": "done"}
    pipeline.write({**commands, "test": NOTE.format("other")})
    assert "1 skipped" in pipeline.run().stderr
    assert pipeline.ran() == ["train", "avg", "test", "other"]
    pipeline.write({"train": NOTE.format("again"), "test": NOTE.format("other")})
    assert pipeline.run().returncode == 0
    assert pipeline.states() == {"train": "done", "avg": "outdated", "test": "done"}


@pytest.mark.slow
def test_command_that_is_not_chosen_needs_no_values(pipeline: Pipeline) -> None:
    pipeline.write({"train": f"{NOTE.format('train')}; echo ${{data}}", "test": "echo ${checkpoint}"},
                   data=1, checkpoint=None)  # fmt: skip
    done = pipeline.run("--only", "train")
    assert done.returncode == 0, done.stderr
    assert "1 skipped" in pipeline.run("--only", "train").stderr
    assert pipeline.states() == {"train": "done", "test": "queued"}


@pytest.mark.slow
def test_values_may_name_the_run_dir_and_nothing_runs_again_for_it(pipeline: Pipeline) -> None:
    pipeline.write({"train": "echo ${save} >> ran.txt", "test": "echo ${flag:save} >> ran.txt"},
                   save="${run_dir:}/last ${run_name:}", x=1)  # fmt: skip
    done = pipeline.run("x=1")
    assert done.returncode == 0, done.stderr
    there = f"{pipeline.run_dir('X_1')}/last X_1"
    assert pipeline.ran() == [there, f"--save {there}"]
    assert "used by no command: x\n" in done.stderr
    assert "1 skipped" in pipeline.run("x=1").stderr
