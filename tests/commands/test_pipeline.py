"""Whole pipelines: what runs, what is written down, what runs again, what ends."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable

import pytest
from pipelines import Pipeline

from trainctl.config import yaml

NOTE = "echo {} ${{x}} >> ran.txt"
THREE = {name: NOTE.format(name) for name in ("train", "avg", "test")}


@pytest.mark.slow
def test_commands_run_in_order_with_logs_states_and_times(pipeline: Pipeline) -> None:
    pipeline.write(
        {
            "train": "echo to ${run_dir:} ${flag:my_lr}; echo and to stderr >&2",
            "test": "cd / && echo $TRAINCTL_SLOT | cat; echo \"$TRAINCTL_SLOT\" it\\'s ${text}",
        },
        my_lr=0.1, text="it's; $(touch bad)", spare=1, trainctl={"run": {"flags": "dashes"}},
    )  # fmt: skip
    done = pipeline.run("-m", "my_lr=0.1,1e-5", slots="[cpu]")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines().count("used by no command: spare") == 1
    run = pipeline.run_dir("MyLr_1e-05")
    assert (run / "train.log").read_text() == f"to {run} --my-lr 1e-05\nand to stderr\n"
    assert (run / "test.log").read_text() == "cpu\ncpu it's it's; $(touch bad)\n"
    assert not list(pipeline.path.rglob("bad"))
    records = pipeline.status("MyLr_1e-05")["commands"]
    assert list(records) == ["train", "test"]
    for name, record in records.items():
        assert (record["state"], record["exit_code"], record["attempt"], record["log"]) == ("done", 0, 1, f"{name}.log")
        assert record["started"] <= record["ended"]
    assert records["train"]["command"] == f"echo to {run} --my-lr 1e-05; echo and to stderr >&2"
    assert pipeline.status("MyLr_1e-05")["state"] == "done"
    assert (run / "train.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_failed_command_stops_the_run_and_names_itself_and_a_second_run_finishes_it(pipeline: Pipeline) -> None:
    commands = {**THREE, "avg": "echo avg ${x} >> ran.txt; echo why >&2; test -e fixed"}
    pipeline.write(commands, x=1)
    failed = pipeline.run()
    assert failed.returncode == 1
    again = re.search(r"again: (.*)", failed.stderr)
    assert again is not None
    assert re.search(r"trainctl run --config params.yaml .*hydra.launcher.slots=2$", again[1]), again[1]
    assert "hydra.callbacks" not in again[1]
    assert pipeline.states() == {"train": "done", "avg": "failed", "test": "queued"}
    log = pipeline.run_dir() / "avg.log"
    assert pipeline.status()["reason"] == f"command 'avg' ended with exit code 1; its log is {log}"
    assert pipeline.status()["commands"]["avg"]["exit_code"] == 1
    assert "why" in (pipeline.run_dir() / "job.log").read_text()
    shown = pipeline.call("show", str(pipeline.run_dir())).stdout
    assert re.search(r"commands   train done [\d.]+ s, avg failed \(1\) [\d.]+ s, test queued\n", shown)
    assert re.search(
        r"failed\t.*train done [\d.]+ s, avg failed \(1\) [\d.]+ s, test queued\t", pipeline.call("ls").stdout
    )
    (pipeline.path / "fixed").touch()
    done = pipeline.run()
    assert done.returncode == 0, done.stderr
    assert pipeline.ran() == ["train 1", "avg 1", "avg 1", "test 1"]
    assert [record["attempt"] for record in pipeline.status()["commands"].values()] == [1, 2, 2]
    assert sorted(path.name for path in pipeline.run_dir().glob("avg*.log")) == ["avg.1.log", "avg.log"]
    assert "1 job: 1 skipped" in pipeline.run().stderr
    assert len(pipeline.ran()) == 4


@pytest.mark.slow
def test_changed_text_runs_a_command_and_all_later_ones_again_in_the_same_dir(pipeline: Pipeline) -> None:
    pipeline.write(THREE, x=1)
    assert pipeline.run().returncode == 0
    pipeline.write({**THREE, "avg": "echo average ${x} >> ran.txt"}, x=1)
    assert pipeline.run("only=[avg]").returncode == 0
    assert pipeline.ran()[3:] == ["average 1"]
    assert pipeline.states() == {"train": "done", "avg": "done", "test": "outdated"}
    assert pipeline.run().returncode == 0
    assert pipeline.ran()[4:] == ["test 1"]
    assert pipeline.runs() == ["default"]


@pytest.mark.slow
def test_only_force_and_dry_run(pipeline: Pipeline) -> None:
    pipeline.write(THREE, x=1)
    dry = pipeline.run("-m", "x=1,2", "--dry-run", "--only", "train,test")
    assert dry.returncode == 0, dry.stderr
    first, *commands, second, _, _ = (line.strip() for line in dry.stdout.splitlines())
    assert commands == ["train: echo train 1 >> ran.txt", "test: echo test 1 >> ran.txt"]
    assert first.startswith("1/2  run    outputs/params/X_1 ")
    assert second.startswith("2/2  run    outputs/params/X_2 ")
    assert pipeline.run("dry_run=true").returncode == 0
    assert not (pipeline.path / "outputs").exists()
    assert pipeline.run("--only", "avg,train").returncode == 0
    assert pipeline.ran() == ["train 1", "avg 1"]
    assert pipeline.states() == {"train": "done", "avg": "done", "test": "queued"}
    assert "test: echo test 1" in pipeline.run("--dry-run").stdout
    assert pipeline.run().returncode == 0
    assert pipeline.ran()[2:] == ["test 1"]
    assert pipeline.run("--force", "only=[train]").returncode == 0
    assert pipeline.ran()[3:] == ["train 1"]
    unknown = pipeline.run("only=[tset]")
    assert unknown.returncode == 1
    assert "there is no command 'tset'; the config has train, avg, test" in unknown.stderr


@pytest.mark.slow
def test_debug_runs_the_first_job_and_shows_what_it_prints(pipeline: Pipeline) -> None:
    pipeline.write({"train": "echo from job ${x}; sleep 0.3; echo and later >&2", "test": "echo tested"}, x=1)
    done = pipeline.run("-m", "x=1,2", "--debug")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "from job 1\nand later\ntested\n"
    assert pipeline.runs() == ["X_1"]
    assert (pipeline.run_dir("X_1") / "train.log").read_text() == "from job 1\nand later\n"
    assert pipeline.run("-m", "x=1,2", "--debug").stdout == done.stdout  # though it is finished
    replayed = pipeline.call("replay", str(pipeline.run_dir("X_1")))
    assert replayed.returncode == 1
    assert "start the one whose steps it records with trainctl.replay=" in replayed.stderr
    assert "(train: echo from job 1; sleep 0.3; echo and later >&2; test: echo tested)" in replayed.stderr


@pytest.mark.slow
def test_key_that_no_job_can_have_is_refused_before_the_first_one_starts(pipeline: Pipeline) -> None:
    text = "echo test ${gone.below} ${flag:opt.size} ${oc.select:opt.none,7} ${by.way} >> ran.txt"
    given = {"opt": {"size": 1}, "by": {"way": "${opt.size}"}}
    pipeline.write({"train": "echo train ${x} >> ran.txt", "test": text}, x=1, **given)
    done = pipeline.run("-m", "x=1,2", "trainctl.run.only=[train],[test]")
    assert (done.returncode, pipeline.ran(), pipeline.runs()) == (1, [], [])
    assert "commands.test refers to gone.below, which the config does not have" in done.stderr
    assert "Traceback" not in done.stderr
    assert pipeline.run("-m", "x=1,2", "++gone.below=5,6").returncode == 0
    assert len(pipeline.ran()) == 8


@pytest.mark.parametrize("lost", ["${opt.more}", "${flag:opt.size.x}", "${by.way}"])
def test_key_below_a_section_that_one_option_lacks_is_refused_before_the_first_job(
    pipeline: Pipeline, lost: str
) -> None:
    for option, more in (("full", "more: 2\nsize: {x: 3}"), ("bare", "size: 1")):
        (pipeline.path / "opt").mkdir(exist_ok=True)
        (pipeline.path / "opt" / f"{option}.yaml").write_text(more)
    commands = {"train": f"echo {lost} >> ran.txt"}
    pipeline.write(commands, by={"way": "${opt.more}"}, defaults=["trainctl", {"opt": "full"}, "_self_"])
    done = pipeline.run("-m", "opt=full,bare")
    assert (done.returncode, pipeline.runs()) == (1, [])
    assert "opt=bare: commands.train refers to" in done.stderr
    assert "which the config does not have" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "text", "reason"),
    [
        ("slots", "${x}", "x=null: commands.train: ${x} is null, which no command can be given"),
        ("basic", "${x}", "x=null: commands.train: ${x} is null, which no command can be given"),
        ("joblib", "${x}", "x=null: commands.train: ${x} is null, which no command can be given"),
        ("slots", "${far}", "x=null: commands.train: ${far} is null, which no command can be given"),
        ("slots", "${flag:x,far,opt}", "commands.train: ${flag:x,far,opt} is a mapping, which no command can be given"),
        ("slots", "${late} ${x}", "commands.train: ${late} has no value: it is ??? in the config"),
        ("slots", "${nowhere:x}", "commands.train: ${nowhere:x} has no value: there is no resolver 'nowhere'"),
    ],
)
def test_value_that_no_command_can_have_is_refused_before_the_first_job(
    pipeline: Pipeline, launcher: str, text: str, reason: str
) -> None:
    pipeline.write({"train": f"echo {text} >> ran.txt"}, x=1, far="${x}", opt={"size": 1}, late="???")
    done = pipeline.run("-m", "x=1,null", f"hydra/launcher={launcher}", slots=None)
    assert (done.returncode, pipeline.ran(), pipeline.runs()) == (1, [], [])
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_values_that_only_the_job_knows_are_left_to_it(pipeline: Pipeline) -> None:
    train = "echo ${hydra:job.name} ${where} ${oc.env:TRAINCTL_SLOT} ${flag:none} >> ran.txt"
    pipeline.write({"train": train}, where="${run_name:}", none=None)
    assert pipeline.run(slots="[cpu]").returncode == 0
    assert pipeline.ran() == ["params default cpu"]


@pytest.mark.slow
def test_directory_of_a_single_run_is_refused_for_a_sweep(pipeline: Pipeline) -> None:
    pipeline.write(THREE, x=1)
    for flags in ([], ["-m"]):
        done = pipeline.run(*flags, "hydra.run.dir=o")
        assert (done.returncode, pipeline.ran()) == (1, [])
        assert done.stderr.startswith("hydra.run.dir=o is for a single run, and `trainctl run` starts a sweep; ")
    assert pipeline.run("--run", "hydra.run.dir=o").returncode == 0
    assert (pipeline.path / "o" / "train.log").is_file()


@pytest.mark.slow
def test_spawned_jobs_run_commands_too(pipeline: Pipeline) -> None:
    pipeline.write(THREE, x=1)
    assert pipeline.run("hydra.launcher.start=spawn").returncode == 0
    assert pipeline.ran() == ["train 1", "avg 1", "test 1"]
    assert "1 skipped" in pipeline.run("hydra.launcher.start=spawn").stderr


@pytest.mark.parametrize(
    ("commands", "sentence"),
    [
        ({}, "the config has no commands"),
        ({"a b": "true"}, "commands.a b: use letters, digits, - and _ only"),
        ({"job": "true"}, "commands.job: the log of the job itself has that name"),
        ({"params": "true"}, "commands.params: the log of the job itself has that name"),
    ],
)
def test_commands_that_cannot_be_are_refused_before_anything_is_made(
    pipeline: Pipeline, commands: dict[str, str], sentence: str
) -> None:
    pipeline.write(commands)
    refused = pipeline.run()
    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr
    assert pipeline.runs() == []


@pytest.mark.slow
def test_values_of_the_moment_make_no_command_run_again(pipeline: Pipeline) -> None:
    moment = {"save": "${hydra:runtime.output_dir}/x", "when": "${now:%f}"}
    pipeline.write({"train": "echo ${save} ${when} >> ran.txt", "test": "echo ${flag:save} >> ran.txt"}, **moment)
    assert pipeline.run().returncode == 0
    assert "1 job: 1 skipped" in pipeline.run().stderr
    assert pipeline.ran()[1:] == [f"--save {pipeline.run_dir()}/x"]


def test_parameter_of_the_configs_own_may_be_called_like_a_setting(pipeline: Pipeline) -> None:
    pipeline.write({"train": "echo ${force} >> ran.txt"}, force="weak")
    assert pipeline.run("force=strong").returncode == 0
    assert pipeline.ran() == ["strong"]


def test_config_that_is_not_there_or_records_nothing_is_one_sentence(pipeline: Pipeline) -> None:
    assert "there is no file 'gone.yaml'" in pipeline.run(config="gone.yaml").stderr
    (pipeline.path / "params.txt").write_text("commands: {a: 'true'}")
    assert "must be called *.yaml" in pipeline.run(config="params.txt").stderr


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["launcher", "job", "stop", "stubborn"])
def test_killing_a_run_kills_all_that_its_commands_started(
    pipeline: Pipeline, whom: str, wait_until: Callable[..., object]
) -> None:
    tree = "(sleep 300 & sleep 300 | cat) & setsid sleep 300 & echo on >> ran.txt; wait"
    tree = f"trap '' TERM INT HUP; {tree}" if whom == "stubborn" else tree
    pipeline.write({"first": "echo first >> ran.txt", "train": tree, "test": "echo no >> ran.txt"})
    launcher = pipeline.start("hydra.launcher.grace_s=1")
    wait_until(lambda: pipeline.ran() == ["first", "on"], "the command runs")
    wait_until(lambda: pipeline.states().get("train") == "running", "its state is written")
    if whom in ("stop", "stubborn"):
        launcher.send_signal(signal.SIGTERM)
    else:
        os.kill(launcher.pid if whom == "launcher" else pipeline.status()["pid"], signal.SIGKILL)
    wait_until(lambda: not pipeline.processes(), "all of them have ended")
    assert launcher.wait(60) != 0
    pipeline.write({"first": "echo first >> ran.txt", "train": "echo on >> ran.txt", "test": "echo no >> ran.txt"})
    assert pipeline.run().returncode == 0
    assert pipeline.ran() == ["first", "on", "on", "no"]
    assert pipeline.states() == {"first": "done", "train": "done", "test": "done"}
    assert (pipeline.run_dir() / "train.1.log").exists()


def test_interrupted_command_is_called_so(pipeline: Pipeline, wait_until: Callable[..., object]) -> None:
    pipeline.write({"train": "echo on >> ran.txt; sleep 300"})
    launcher = pipeline.start()
    wait_until(lambda: pipeline.states().get("train") == "running" and pipeline.ran(), "the command runs")
    os.kill(pipeline.status()["pid"], signal.SIGKILL)
    assert launcher.wait(60) == 1
    assert pipeline.states() == {"train": "interrupted"}
    assert yaml.loads((pipeline.run_dir() / "status.yaml").read_text())["state"] != "running"
