"""Secrets of a config reach the command, and nothing else that we write of it."""

from __future__ import annotations

import pytest
from pipelines import Pipeline

SECRET = "it's a $wordfish"


@pytest.mark.slow
def test_secret_is_only_in_the_command_and_what_it_prints(pipeline: Pipeline) -> None:
    pipeline.write({"train": 'echo ${api_key} "${url}" ${flag:pin_token}; exit 1'},
                   api_key=SECRET, url="https://me:${api_key}@host", pin_token="my-pin")  # fmt: skip
    done = pipeline.run()
    assert done.returncode == 1
    run = pipeline.run_dir()
    printed = f"{SECRET} https://me:{SECRET}@host --pin_token my-pin\n"
    assert (run / "train.log").read_text() == printed  # what it prints is its own
    shown = "echo '•••' \"https://me:•••@host\" --pin_token '•••'; exit 1"
    assert pipeline.status()["commands"]["train"]["command"] == shown
    assert (run / "job.log").read_text().splitlines()[0] == f"train: {shown}"
    dry = pipeline.run("--dry-run").stdout
    assert f"train: {shown}" in dry
    for text in (done.stderr, dry, (run / "job.log").read_text(), (run / "status.yaml").read_text()):
        assert "wordfish" not in text


@pytest.mark.slow
def test_secret_that_has_changed_runs_its_command_again(pipeline: Pipeline) -> None:
    pipeline.write({"train": "echo ${api_key} | tr a-z A-Z >> ran.txt"}, api_key="abcdef",
                   trainctl={"identity": {"exclude": ["api_key"]}})  # fmt: skip
    assert pipeline.run().returncode == 0
    assert "1 skipped" in pipeline.run().stderr
    pipeline.write({"train": "echo ${api_key} | tr a-z A-Z >> ran.txt"}, api_key="ghijkl",
                   trainctl={"identity": {"exclude": ["api_key"]}})  # fmt: skip
    assert pipeline.run().returncode == 0
    assert pipeline.ran() == ["ABCDEF", "GHIJKL"]
