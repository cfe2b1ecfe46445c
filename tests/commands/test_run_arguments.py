"""What `trainctl run` takes on its command line, and what it refuses in a sentence."""

from __future__ import annotations

import subprocess

import pytest
from pipelines import Pipeline

NOTE = "echo {} >> ran.txt"
TWO = {"train": NOTE.format("train"), "test": NOTE.format("test")}


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("--only", "test, train"), ("only=train,test",), ("only=[test,train]",)])
def test_commands_are_chosen_in_one_way_or_another(pipeline: Pipeline, arguments: tuple[str, ...]) -> None:
    pipeline.write({**TWO, "last": "false"})
    done = pipeline.run(*arguments)
    assert done.returncode == 0, done.stderr
    assert pipeline.ran() == ["train", "test"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--only", ""), "trainctl.run.only: there is no command ''; the config has train, test"),
        (("only=[]",), "trainctl.run.only=[] names no command; the config has train, test"),
        (("stray",), "'stray' is neither an option nor an override; overrides are KEY=VALUE or ~KEY"),
        (("-m", "stray", "x=1"), "'stray' is neither an option nor an override"),
    ],
)
def test_what_names_nothing_is_refused_before_anything_is_made(
    pipeline: Pipeline, arguments: tuple[str, ...], sentence: str
) -> None:
    pipeline.write(TWO)
    refused = pipeline.run(*arguments)
    assert refused.returncode == 1
    assert refused.stderr.startswith(sentence)
    assert "Traceback" not in refused.stderr
    assert not (pipeline.path / "outputs").exists()


@pytest.mark.slow
def test_hydras_flags_that_only_show_something_do_so(pipeline: Pipeline) -> None:
    pipeline.write(TWO, x=1)
    for flags in (("--cfg", "job"), ("-c", "job"), ("--cfg=job",)):
        shown = pipeline.run(*flags, "x=5")
        assert shown.returncode == 0, shown.stderr
        assert "x: 5\n" in shown.stdout
    assert not (pipeline.path / "outputs").exists()


@pytest.mark.slow
def test_single_run_of_hydras_own_kind_runs_the_commands_too(pipeline: Pipeline) -> None:
    pipeline.write({"train": "echo from ${flag:my_x}"}, my_x=1, y=2)
    done = pipeline.run("--run", "--debug", "flags=dashes")
    assert done.returncode == 0, done.stderr
    assert "used by no command: y\n" in done.stderr
    assert "from --my-x 1" in done.stdout.splitlines()
    (log,) = (pipeline.path / "outputs").glob("params/*/train.log")
    assert log.read_text() == "from --my-x 1\n"


def test_parameters_that_only_the_command_line_has_are_listed_when_no_command_uses_them(pipeline: Pipeline) -> None:
    pipeline.write({"train": "echo ${x}"}, x=1)
    (pipeline.path / "kind").mkdir()
    for option in ("a", "b"):
        (pipeline.path / "kind" / f"{option}.yaml").write_text("# @package _global_\nx: 3\n")
    done = pipeline.run("-m", "+typo=1,2", "++deep.er=1", "+kind=a,b", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == "used by no command: deep, typo"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            b"a: [",
            "params.yaml: it is not YAML (line 2, column 1: did not find expected node content while",
        ),
        (b"a: \xff", "params.yaml is not UTF-8 text"),
        (b"commands: {train: 'echo ${x'}", "commands.train cannot be read: "),
        (b"- a", "primary config 'params' must be a DictConfig"),
    ],
)
def test_config_that_cannot_be_read_is_one_sentence(pipeline: Pipeline, text: bytes, sentence: str) -> None:
    (pipeline.path / "params.yaml").write_bytes(text)
    refused = pipeline.call("run", "--config", "params.yaml")
    assert refused.returncode == 1
    assert refused.stderr.startswith(sentence)
    assert "Traceback" not in refused.stderr
    assert not (pipeline.path / "outputs").exists()


def test_config_without_trainctl_is_refused_before_anything_is_made(pipeline: Pipeline) -> None:
    (pipeline.path / "params.yaml").write_text("commands: {train: 'true'}")
    refused = pipeline.call("run", "--config", "params.yaml")
    assert refused.returncode == 1
    assert refused.stderr == "commands need a run to be recorded in; add `trainctl` to the defaults of the config\n"
    assert [path.name for path in pipeline.path.iterdir()] == ["params.yaml"]


def test_config_is_found_from_another_directory_whatever_its_name(pipeline: Pipeline) -> None:
    pipeline.write({"train": "echo it > it.txt"})
    (pipeline.path / "sub dir").mkdir()
    (pipeline.path / "params.yaml").rename(pipeline.path / "a=b, $x é.yaml")
    command = pipeline.command(config="../a=b, $x é.yaml")
    done = subprocess.run(command, cwd=pipeline.path / "sub dir", env=pipeline.environment, capture_output=True,
                          text=True, timeout=120, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (pipeline.path / "sub dir" / "it.txt").exists()  # commands run where the person is
    assert (pipeline.path / "sub dir" / "outputs" / "a=b, $x é" / "default" / "train.log").exists()


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_debug_is_shown_however_jobs_are_started(pipeline: Pipeline, start: str) -> None:
    pipeline.write({"train": "echo from the job; sleep 0.2; echo and later"})
    done = pipeline.run("--debug", f"hydra.launcher.start={start}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "from the job\nand later\n"


def test_debug_may_be_set_in_the_config(pipeline: Pipeline) -> None:
    pipeline.write({"train": "echo from the job"}, trainctl={"run": {"debug": True}})
    assert pipeline.run().stdout == "from the job\n"


def test_run_goes_on_when_nobody_looks_any_more(pipeline: Pipeline) -> None:
    pipeline.write({"train": "seq 200000; echo end", "test": NOTE.format("test")})
    debug = pipeline.command("--debug")
    line = subprocess.run(
        ["bash", "-c", '"$@" 2>/dev/null | head -n 1; exit ${PIPESTATUS[0]}', "-", *debug], cwd=pipeline.path,
        env=pipeline.environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (line.returncode, line.stdout) == (0, "1\n")
    assert pipeline.states() == {"train": "done", "test": "done"}
    assert (pipeline.run_dir() / "train.log").read_text().endswith("200000\nend\n")
