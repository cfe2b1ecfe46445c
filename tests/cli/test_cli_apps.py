"""`trainctl config`, `pairs` and `explain --app`: a program looked at as its own @hydra.main would have it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from made import Cli, assert_refused

from trainctl.config import yaml

APP = """
import hydra, trainctl
from dataclasses import dataclass
from hydra.core.config_store import ConfigStore

print("imported")

@dataclass
class Optim:
    lr: float = 0.1

ConfigStore.instance().store(group="optim", name="sgd", node=Optim)
pairs = trainctl.Pairs("task", "model")

@pairs.register("text", "rnn")
def for_text(cfg):
    cfg.model.vocabulary = len(cfg.task.letters)

pairs.allow("*", "mlp")

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    raise AssertionError("the task was called")

if __name__ == "__main__":
    main()
"""
FOREIGN = """
import sys
import hydra
from omegaconf import OmegaConf

OmegaConf.register_new_resolver("double", lambda x: 2 * x)

@hydra.main(version_base="1.3", config_path="conf", config_name="foreign")
def my_app(cfg):
    print("fast", cfg.fast)

if __name__ == "__main__":
    my_app()
"""
FILES = {
    "train.py": APP,
    "foreign.py": FOREIGN,
    "no_hydra.py": "print('nothing here')\n",
    "broken.py": "import no_such_module\n",
    "conf/config.yaml": "defaults: [trainctl, task: text, model: rnn, optim: sgd, _self_]\nout: ${hydra:job.name}\n"
    "trainctl: {pairs: train.pairs}\n",
    "conf/foreign.yaml": "defaults:\n- model: mlp\n- task: ???\n- _self_\nlr: 0.1\nfast: ${double:${lr}}\n",
    "conf/task/text.yaml": "name: text\nletters: abc\n",
    "conf/task/image.yaml": "name: image\n",
    "conf/model/rnn.yaml": "name: rnn\nvocabulary: ???\nwidth: ???\n",
    "conf/model/mlp.yaml": "name: mlp\n",
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.slow
def test_config_is_printed_as_it_would_run_with_what_is_missing(cli: Cli, here: Path) -> None:
    answer = cli("config", "optim.lr=0.3", "--resolve")
    config = yaml.loads(answer.stdout)
    assert config["model"] == {"name": "rnn", "vocabulary": 3, "width": "???"}
    assert (config["optim"]["lr"], config["out"], "hydra" in config) == (0.3, "train", False)
    assert set(answer.stderr.splitlines()) == {"imported", "missing: model.width"}
    assert not (here / "outputs").exists()
    assert_refused(
        cli("config", "task=image"), "task=image and model=rnn do not go together; task=image goes with model=mlp"
    )
    assert_refused(cli("config", "optim.rate=1"), r"Could not override 'optim.rate'")


def test_config_of_a_program_that_is_not_ours_shows_options_that_are_missing(cli: Cli, here: Path) -> None:
    answer = cli("config", "--app", "foreign.py", "lr=2")
    assert yaml.loads(answer.stdout) == {"model": {"name": "mlp"}, "task": "???", "lr": 2, "fast": "${double:${lr}}"}
    assert answer.stderr == "missing: task\n"
    resolved = cli("config", "--app", "foreign", "lr=2", "task=image", "--resolve")
    assert yaml.loads(resolved.stdout)["fast"] == 4


@pytest.mark.slow
def test_pairs_are_found_in_the_groups_of_the_program(cli: Cli, here: Path) -> None:
    matrix = {
        "image": {"mlp": "as is", "rnn": "not compatible"},
        "text": {"mlp": "as is", "rnn": "adapted"},
    }
    assert json.loads(cli("pairs", "--json").stdout) == matrix
    assert cli("pairs", "--markdown").stdout.splitlines() == [
        "| task / model | mlp | rnn |",
        "|---|---|---|",
        "| image | as is | not compatible |",
        "| text | as is | adapted |",
    ]
    assert [line.split() for line in cli("pairs").stdout.splitlines()][1:] == [
        ["image", "as", "is", "not", "compatible"],
        ["text", "as", "is", "adapted"],
    ]
    foreign = cli("pairs", "--app", "foreign.py", "task=text", "--registry", "train.pairs", "--json")
    assert json.loads(foreign.stdout) == matrix
    assert_refused(cli("pairs", "--app", "foreign.py"), "--app foreign.py: its config sets no trainctl.pairs; set it")


@pytest.mark.slow
def test_explain_tells_it_of_a_program(cli: Cli, here: Path) -> None:
    lines = cli("explain", "--app", "train.py", "optim.lr=0.3", "optim.lr").stdout.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [
        ["value", "set by"],
        ["0.1", "optim/sgd of the ConfigStore (optim=sgd in config)"],
        ["0.3", "command line optim.lr=0.3"],
    ]
    found = json.loads(cli("explain", "--app", "train.py", "model", "--json").stdout)
    assert found[1] == {
        "key": "model.vocabulary",
        "value": 3,
        "set": [
            {"kind": "file", "source": "conf/model/rnn.yaml (model=rnn in config)", "value": "???"},
            {"kind": "pair", "source": "task=text model=rnn (train.for_text)", "value": 3},
        ],
    }
    whole = cli("explain", "--app", "foreign.py", "task=image").stdout
    assert [line.split()[0] for line in whole.splitlines()] == ["key", "model.name", "task.name", "lr", "fast"]
    assert_refused(cli("explain", "--app", "train.py", "modle"), r"the config has no modle; did you mean model")
    assert_refused(cli("explain"), r"name a run, and a key if you like: trainctl explain RUN \[KEY\]")


def test_explain_reads_the_output_dir_of_a_program_that_is_not_ours(cli: Cli, here: Path) -> None:
    command = [sys.executable, "foreign.py", "task=image", "lr=2", "hydra.run.dir=out"]
    subprocess.run(command, cwd=here, check=True, timeout=120, capture_output=True)
    found = json.loads(cli("explain", "out", "--json").stdout)
    assert {record["key"]: record["set"][-1]["source"] for record in found} == {
        "model.name": "conf/model/mlp.yaml (model=mlp in foreign)",
        "task.name": "conf/task/image.yaml (task=image on the command line)",
        "lr": "lr=2",
        "fast": "conf/foreign.yaml",
    }


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("nowhere.py", "--app nowhere.py: there is no such file; name your program, such as --app train.py"),
        ("nowhere", "--app nowhere: ImportError: No module named nowhere"),
        (
            "no_hydra.py",
            "--app no_hydra.py: the program ended without calling a function that is decorated with @hydra",
        ),
        ("broken.py", "--app broken.py: ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_program_that_cannot_be_looked_at_is_named(cli: Cli, here: Path, program: str, sentence: str) -> None:
    assert_refused(cli("config", "--app", program), sentence)
