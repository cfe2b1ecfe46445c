"""Pairs in a real Hydra app: whichever launcher it is, jobs are adapted before they are named and recorded."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from trainctl.compose.pairs import FittingLoader, fit, load_pairs
from trainctl.config import yaml
from trainctl.config.pairs import Pairs
from trainctl.errors import PairError
from trainctl.rundir.sweep import left_out

APP = """
import hydra, trainctl

pairs = trainctl.Pairs("task", "model")
not_pairs = 3

@pairs.register("sequence", "rnn")
def for_steps(cfg):
    cfg.model.inputs = cfg.task.width
    cfg.lr = 0.5
    cfg.where = f"{cfg.out}"

pairs.allow("image", "mlp")

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    return f"{cfg.model.name} {cfg.model.inputs} {cfg.lr}"

if __name__ == "__main__":
    main()
"""
CONFIG = """
defaults: [trainctl, task: sequence, model: rnn, _self_]
lr: 0.1
out: ${hydra:job.name}
where: nowhere
trainctl: {pairs: app.pairs, panel: {enabled: false}}
"""
FILES = {
    "app.py": APP,
    "conf/config.yaml": CONFIG,
    "conf/task/sequence.yaml": "name: sequence\nwidth: 8\n",
    "conf/task/image.yaml": "name: image\nwidth: 64\n",
    "conf/model/rnn.yaml": "name: rnn\ninputs: ???\n",
    "conf/model/mlp.yaml": "name: mlp\ninputs: 64\n",
}
PAIRS = Pairs("task", "model")
PAIRS.allow("image", "mlp")
Start = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(*overrides: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "app.py", *overrides]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        return done

    return run


def config_of(run: Path) -> Any:
    return yaml.loads((run / ".hydra" / "config.yaml").read_text())


def test_single_run_is_adapted_before_it_is_recorded(start: Start, tmp_path: Path) -> None:
    start("hydra.run.dir=runs/${model.inputs}")
    config = config_of(tmp_path / "runs" / "8")
    assert (config["model"]["inputs"], config["lr"], config["where"]) == (8, 0.5, "app")
    record = yaml.loads((tmp_path / "runs" / "8" / ".hydra" / "hydra.yaml").read_text())["hydra"]["runtime"]
    assert record["trainctl_pair"] == {
        "pair": "task=sequence model=rnn (app.for_steps)",
        "keys": ["lr", "model.inputs", "where"],
    }


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["task=image"], "task=image and model=rnn do not go together; task=image goes with model=mlp"),
        (["trainctl.pairs=app.not_pairs"], "trainctl.pairs=app.not_pairs is a int, not a trainctl.Pairs"),
        (
            ["trainctl.pairs=null", "+a.b=???", "lr=???", "trainctl.missing=error"],
            "these values are missing: a.b, lr, model.inputs; give them in a",
        ),
    ],
)
def test_single_run_that_cannot_be_is_one_sentence_and_makes_nothing(
    start: Start, tmp_path: Path, overrides: list[str], sentence: str
) -> None:
    done = start(*overrides, code=1)
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "outputs").exists()


def test_single_run_can_explain_its_values_instead_of_running(start: Start, tmp_path: Path) -> None:
    lines = start("trainctl.explain=model", "+seen=1").stdout.splitlines()
    assert lines == [
        "model.name: rnn",
        "    conf/model/rnn.yaml (model=rnn in config)",
        "model.inputs: 8",
        "    pair task=sequence model=rnn (app.for_steps)",
        "    instead of '???' (conf/model/rnn.yaml (model=rnn in config))",
    ]
    assert start("trainctl.explain=modle", code=1).stderr == "the config has no modle; did you mean model?\n"
    done = start("-m", "trainctl.explain=true", "lr=1,2", code=1)
    assert done.stderr == "trainctl.explain explains one run and starts none; leave out -m and what is swept\n"
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["slots", "basic", "joblib", "spawn"])
def test_every_launcher_runs_adapted_jobs_and_leaves_out_those_that_do_not_fit(
    start: Start, tmp_path: Path, launcher: str
) -> None:
    chosen = ["hydra.launcher.start=spawn"] if launcher == "spawn" else [f"hydra/launcher={launcher}"]
    chosen += ["hydra.launcher.slots=2"] if launcher == "slots" else []
    done = start("-m", "task=sequence,image", "model=rnn,mlp", *chosen)
    lines = [line for line in done.stderr.splitlines() if "go together" in line]
    no = "do not go together;"
    assert lines == [
        f"LEFT OUT task=sequence model=mlp: task=sequence and model=mlp {no} task=sequence goes with model=rnn",
        f"LEFT OUT task=image model=rnn: task=image and model=rnn {no} task=image goes with model=mlp",
        "2 of 4 jobs were left out: their options do not go together",
    ]
    sweep = tmp_path / "outputs" / "app"
    assert sorted(run.name for run in sweep.iterdir() if (run / ".hydra").exists()) == [
        "Model_mlp-Task_image",
        "Model_rnn-Task_sequence",
    ]
    config = config_of(sweep / "Model_rnn-Task_sequence")
    assert (config["model"]["inputs"], config["lr"], config["where"]) == (8, 0.5, "app")
    assert list(left_out(sweep)) == ["task=sequence model=mlp", "task=image model=rnn"]
    if launcher == "slots":
        command = [sys.executable, "-c", "from trainctl.cli import main; main()", "table", str(sweep)]
        table = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert "left out: task=image model=rnn: task=image and model=rnn do not go together" in table.stderr
        again = start("-m", "task=sequence,image", "model=rnn,mlp", *chosen)
        assert again.stderr.count("SKIP") == 2
        start("-m", "task=sequence", "model=rnn", "lr=1,2")
        assert left_out(sweep) == {}
        assert yaml.loads((sweep / "Lr_2" / "result.yaml").read_text())["value"] == "rnn 8 2"


def test_sweep_may_refuse_what_does_not_fit_before_anything_runs(start: Start, tmp_path: Path) -> None:
    done = start("-m", "task=sequence,image", "trainctl.incompatible=error", code=1)
    assert "1 of 2 jobs do not fit, and trainctl.incompatible=error: task=image (task=image and" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "outputs" / "app").iterdir()] == ["multirun.yaml"]


def test_sweep_of_which_nothing_is_left_does_not_end_well(start: Start) -> None:
    done = start("-m", "task=image", "model=rnn", "lr=1,2", code=1)
    assert done.stderr.count("LEFT OUT") == 2
    assert done.stderr.splitlines()[-1] == "nothing was run: the options of all 2 jobs do not go together"


def test_sweep_names_all_missing_values_before_anything_runs(start: Start, tmp_path: Path) -> None:
    done = start("-m", "trainctl.pairs=null", "+a=???", "lr=1,2", "trainctl.missing=error", code=1)
    assert "these values are missing: a, model.inputs; give them in a file or as KEY=VALUE" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "outputs" / "app").iterdir()] == ["multirun.yaml"]
    start("-m", "trainctl.pairs=null", "+a=???", "model=mlp", "lr=1,2")


def test_registry_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(PairError, match=r"^trainctl\.pairs=no_such_module\.pairs cannot be imported: .*no_such_module"):
        load_pairs("no_such_module.pairs")


def test_config_without_a_registry_is_not_touched() -> None:
    config = OmegaConf.create({"a": "${b}", "b": "???"})
    nodes = dict(config.__dict__["_content"])
    fit(config)
    assert all(config.__dict__["_content"][key] is node for key, node in nodes.items())


class Composing:
    """A loader of configs whose `model` is whatever was chosen last, and that counts."""

    def __init__(self) -> None:
        self.composed: list[list[str]] = []

    def load_sweep_config(self, master: Any, overrides: list[str]) -> Any:
        self.composed.append(overrides)
        choices = dict(text.split("=") for text in overrides if text.startswith("model="))
        hydra = {"runtime": {"choices": {"task": "image", **choices}}, "overrides": {"task": overrides}}
        return OmegaConf.create({"hydra": hydra, "trainctl": {"pairs": f"{__name__}.PAIRS"}})


def test_jobs_that_differ_in_values_only_are_judged_once() -> None:
    composing = Composing()
    master = OmegaConf.create({"hydra": {"runtime": {"choices": {"task": "image", "model": "mlp"}}}})
    loader = FittingLoader(composing, OmegaConf.create({}))
    jobs = [[f"model={model}", f"lr={lr}"] for model in ("mlp", "rnn") for lr in range(50)]
    why = [loader.obstacle(master, job) for job in jobs]
    assert why == [None] * 50 + ["task=image and model=rnn do not go together; task=image goes with model=mlp"] * 50
    assert composing.composed == [jobs[0], jobs[50]]


def test_loader_goes_into_other_processes() -> None:
    loader = pickle.loads(pickle.dumps(FittingLoader(OmegaConf.create({"x": 1}), None)))
    assert loader.loader == {"x": 1}
    with pytest.raises(AttributeError, match="__of_nobody__"):
        _ = loader.__of_nobody__
