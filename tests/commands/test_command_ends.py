"""How a command ends, what a person is told of it, and which ends are tried again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest
from pipelines import CLI, Pipeline

NOTE = "echo {} >> ran.txt"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "reason", "record"),
    [
        ("echo to stdout; echo the cause >&2; exit 3", "ended with exit code 3", {"exit_code": 3}),
        ("echo the cause; kill -SEGV $$", "was ended by SIGSEGV", {"exit_code": -11, "signal": "SIGSEGV"}),
        ("echo the cause; kill -40 $$", "was ended by signal 40", {"exit_code": -40, "signal": "signal 40"}),
        ("echo the cause; bash -c 'kill -9 $$' | cat", "was ended by SIGKILL", {"exit_code": 137, "signal": "SIGKILL"}),
    ],
)
def test_failed_command_is_told_in_a_sentence_with_its_own_last_lines(
    pipeline: Pipeline, command: str, reason: str, record: dict[str, object]
) -> None:
    pipeline.write({"train": command, "test": "true"})
    done = pipeline.run()
    assert done.returncode == 1
    sentence = f"command 'train' {reason}; its log is {pipeline.run_dir()}/train.log"
    first, *tail = done.stderr.partition("FAIL  1/1 ")[2].partition("full log:")[0].splitlines()
    assert first.endswith(f": {sentence}")
    assert "the cause" in map(str.strip, tail)
    assert f"FAILED outputs/params/default: {sentence}" in done.stderr
    for text in (done.stderr, (pipeline.run_dir() / "job.log").read_text()):
        assert "Traceback" not in text
        assert "trainctl/commands" not in text
    told = pipeline.status()["commands"]["train"]
    assert {key: told[key] for key in record} == record
    assert pipeline.status()["reason"] == sentence
    (told,) = json.loads(pipeline.call("ls", "--json").stdout)
    assert [command["state"] for command in told["commands"]] == ["failed", "queued"]


def test_value_that_is_missing_is_told_without_a_trace(pipeline: Pipeline) -> None:
    pipeline.write({"train": "echo ${x}"}, x=None)
    done = pipeline.run()
    assert done.returncode == 1
    assert "commands.train: ${x} is null" in done.stderr
    assert "Traceback" not in done.stderr
    assert not pipeline.run_dir().exists()


@pytest.mark.slow
def test_command_that_is_too_long_is_told_by_its_length(pipeline: Pipeline) -> None:
    pipeline.write({"train": "echo ${x}"}, x="y" * 200_000)
    done = pipeline.run()
    assert done.returncode == 1
    reason = (
        "command 'train' could not be started: Argument list too long (200,005 bytes); let it read values from a file"
    )
    assert pipeline.status()["reason"] == reason
    assert pipeline.states() == {"train": "failed"}


@pytest.mark.parametrize(
    ("end", "state"),
    [
        ("kill -9 $$", "failed"),
        ("echo 'RuntimeError: CUDA out of memory. Tried to allocate 2 GiB'; exit 1", "oom"),
    ],
)
def test_crash_and_lack_of_memory_of_a_command_are_tried_again_as_those_of_a_job(
    pipeline: Pipeline, end: str, state: str
) -> None:
    pipeline.write({"first": NOTE.format("first"), "train": f"{NOTE.format('train')}; [ -e ok ] || {{ {end}; }}"})
    done = pipeline.run("hydra.launcher.retries=1")
    assert done.returncode == 1
    assert "RETRY 1/1 will be tried again (1 of 1)" in done.stderr
    assert pipeline.ran() == ["first", "train", "train"]
    assert pipeline.status()["state"] == state
    assert sorted(path.name for path in pipeline.run_dir().glob("*.log") if path.name != "params.log") == [
        "first.log", "job.1.log", "job.log", "train.1.log", "train.log",
    ]  # fmt: skip


@pytest.mark.slow
def test_exit_code_is_an_error_that_is_tried_again_only_if_asked(pipeline: Pipeline) -> None:
    pipeline.write({"train": f"{NOTE.format('train')}; false"})
    assert pipeline.run("hydra.launcher.retries=1").returncode == 1
    assert pipeline.ran() == ["train"]
    assert pipeline.run("hydra.launcher.retries=1", "hydra.launcher.retry_on=[error]").returncode == 1
    assert pipeline.ran() == ["train"] * 3


@pytest.mark.slow
def test_what_a_command_prints_can_be_followed(pipeline: Pipeline, wait_until: Callable[..., object]) -> None:
    pipeline.write({"train": "echo from train; while [ ! -e go ]; do sleep 0.05; done; echo later", "test": "true"})
    launcher = pipeline.start()
    wait_until(lambda: pipeline.states().get("train") == "running", "the command runs")
    command = [*CLI, "tail", "-f", "--command", "train", str(pipeline.run_dir())]
    follower = subprocess.Popen(
        command, cwd=pipeline.path, env=pipeline.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert follower.stdout is not None
    assert follower.stdout.readline() == "from train\n"
    (pipeline.path / "go").touch()
    printed, told = follower.communicate(timeout=60)
    assert (printed, told) == ("later\n", "outputs/params/default: done\n")
    assert launcher.wait(60) == 0
    assert pipeline.call("tail", "outputs/params/default", "-n", "1", "-c", "train").stdout == "later\n"
    refused = pipeline.call("tail", "outputs/params/default", "-c", "eval")
    assert refused.stderr == "there is no command 'eval' in outputs/params/default, which has train, test\n"
