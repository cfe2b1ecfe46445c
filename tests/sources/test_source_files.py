"""Configs in files of other formats, in an app and pulled."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from earlier_runs import Compose, MakeRun
from omegaconf import OmegaConf

from trainctl.config import yaml
from trainctl.config.changelog import Edit
from trainctl.errors import SourceError
from trainctl.sources.kinds import read_source

FILES = {
    "a.ini": "[DEFAULTS]\n# how fast\nlr = 1\nname = ${oc.env:HOME}\nbetas = [1, 0.5]\n[norm]\nmomentum = 0.5\n",
    "a.json": '{"lr": 1, "name": "${oc.env:HOME}", "betas": [1, 0.5], "norm": {"momentum": 0.5}}',
    "a.yaml": "lr: 1.0\nname: ${norm.name}\nbetas: [1.0, 0.5]\nnorm: {momentum: 0.5}\n",
    "a.gin": "lr = 1\nname = '${oc.env:HOME}'\nbetas = [1.0, 0.5]\nnorm.momentum = 0.5\nlr_end = %lr\n",
}
Pull = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def folder(conf: Path) -> Path:
    for name, text in FILES.items():
        (conf.parent / name).write_text(text)
    return conf.parent


@pytest.fixture
def pull(folder: Path) -> Pull:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from trainctl.cli import main; main()", "pull", *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)

    return call


@pytest.mark.parametrize("name", FILES)
def test_file_becomes_what_the_config_has(name: str, made: Compose, folder: Path) -> None:
    config = made(f"+from={name.partition('.')[2]}/{name}", "steps=3")
    assert (config.lr, config.norm.momentum, config.betas, config.steps) == (1.0, 0.5, [1.0, 0.5], 3)
    assert {type(config.lr), *map(type, config.betas)} == {float}
    assert config.lr_end == 1.0
    assert config.name == ("batch" if name == "a.yaml" else "${oc.env:HOME}")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("x.json", b"[1]", "is not a JSON config: it must be a mapping"),
        ("x.json", b"\xff\xfe", "is not UTF-8 text"),
        ("x.json", b'{"a":' * 200 + b"1" + b"}" * 200, "is nested more than 100 deep"),
        ("x.json", b"[" * 100_000, "x.json is nested more than 100 deep"),
        ("x.json", b'{"a": 1,\n}', "x.json, line 2, column 1: not JSON: expecting property name"),
        ("x.json", b'{"a": 1' + b"0" * 5000 + b"}", "x.json has a whole number of too many digits"),
        ("x.yaml", b"[1]", "is not a YAML config: it must be a mapping"),
        ("x.yaml", b"a: !!python/object/apply:os.system [true]", "is not YAML"),
        ("x.yaml", b"#" * (17 * 2**20), r"cannot be read \(it is longer than 16 MiB\)"),
        ("x.ini", b"lr", r"x.ini, line 1: 'lr' stands above the first \[section\]"),
        ("x.gin", b"include 'y.gin'", "has values that no config can hold: line 1: include"),
    ],
)
def test_file_that_is_none_is_refused(name: str, content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=sentence):
        read_source(f"{name.partition('.')[2]}/{tmp_path / name}")


def test_source_that_is_none_is_refused_with_the_kinds() -> None:
    with pytest.raises(SourceError, match=r"\+from=norm/new names no source; write \+from=KIND/PLACE with .* gin, "):
        read_source("norm/new")


def test_comments_above_keys_of_an_ini_file_are_pulled(pull: Pull, folder: Path) -> None:
    (folder / "c.ini").write_text("[DEFAULTS]\n# how fast\nlr = 1\n[optim]\n; its\n; weight\nwd = 0.1\nname = a\n")
    done = pull("ini/c.ini")
    assert done.stdout.splitlines()[2:] == [
        "# how fast", "lr: 1", "optim:", "  # its weight", "  wd: 0.1", "  name: a"
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["ini", "yaml"])
def test_file_is_over_the_options_of_the_command_line(kind: str, made: Compose, folder: Path) -> None:
    text = {"ini": "[norm]\ngroups = 9\nname = mine\n", "yaml": "norm: {groups: 9, name: mine}\n"}[kind]
    (folder / f"f.{kind}").write_text(text)
    assert made("norm=new", f"+from={kind}/f.{kind}").norm == {"name": "mine", "groups": 9}
    assert made("norm=new", f"+from={kind}/f.{kind}", "norm.groups=2").norm == {"name": "mine", "groups": 2}


def test_dashes_and_options_of_prefigure(made: Compose, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "p.ini").write_text("[DEFAULTS]\nlr-end = 0.5\nconfig_file = p.ini\nimports = ['model']\n")
    assert made("+from=ini/p.ini").lr_end == 0.5
    assert capfd.readouterr().err == (
        "+from=ini/p.ini: left out, as these are options of prefigure itself: config_file, imports;"
        " load each file that imports names with +from@KEY=json/FILE\n"
    )


def test_what_a_file_says_of_the_launch_or_as_a_secret_is_named(
    made: Compose, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "q.json").write_text('{"lr": 3, "trainctl": {"seed": 1}, "name": "OMITTED"}')
    assert (made("+from=json/q.json").lr, made("+from=json/q.json").name) == (3.0, made().name)
    assert capfd.readouterr().err.splitlines() == [
        "+from=json/q.json: left out, as they say how a run is started and watched: trainctl",
        "+from=json/q.json: left out, as they are secret there: name",
    ]


def test_what_is_left_out_below_a_key_is_said_of_the_override_that_was_given(
    made: Compose, pull: Pull, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "q.json").write_text('{"name": "mine", "hydra": {}, "trainctl": {"seed": 1}, "groups": "OMITTED"}')
    assert made("norm=new", "+from@norm=json/q.json").norm.name == "mine"
    assert capfd.readouterr().err.splitlines() == [
        "+from@norm=json/q.json: left out, as they say how a run is started and watched: hydra, trainctl",
        "+from@norm=json/q.json: left out, as they are secret there: norm.groups",
    ]
    (folder / "q.json").write_text('{"breadth": 3}')
    with pytest.raises(Exception, match=r"^\+from@norm=json/q.json: this config has no norm.breadth; "):
        made("norm=new", "+from@norm=json/q.json")
    (folder / "q.json").write_text('{"lr": 3, "trainctl": {"seed": 1}}')
    pulled = pull("json/q.json")
    assert pulled.stderr == "left out, as they say how a run is started and watched: trainctl\n"
    assert "seed" not in pulled.stdout


def test_pulled_file_loads_as_the_source_does(pull: Pull, made: Compose, folder: Path) -> None:
    done = pull("json/a.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:2] == ["# @package _global_", f"# pulled from json/a.json: {folder / 'a.json'}"]
    (folder / "conf" / "pulled").mkdir()
    (folder / "conf" / "pulled" / "x.yaml").write_text(done.stdout)
    config = made("+pulled=x", "steps=3")
    assert (config.name, config.norm.momentum, config.steps) == ("${oc.env:HOME}", 0.5, 3)


def test_run_is_pulled_as_it_was_at_a_step(pull: Pull, make_run: MakeRun) -> None:
    make_run("outputs/one", edits=[Edit(5, {"lr": 0.3}), Edit(7, {"lr": 0.2})])
    pulled = yaml.loads(pull("run/outputs/one@6").stdout)
    assert (pulled["lr"], pulled["lr_end"], "trainctl" in pulled) == (0.3, "${lr}", False)
    assert OmegaConf.create(pulled).lr_end == 0.3


def test_pull_of_what_is_not_there_prints_nothing_but_the_sentence(pull: Pull) -> None:
    done = pull("run/outputs/none")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("+from=run/outputs/none: there is no run dir")
