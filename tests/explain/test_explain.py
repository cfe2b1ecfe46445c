"""What set each value of a real run: files, options, overrides, an earlier run, a pair, live edits; what is unknown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainctl.errors import RunDirError, SettingError
from trainctl.explain.explain import explain_run
from trainctl.explain.origin import Setting, below, check_key
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir

APP = """
import hydra, trainctl
from dataclasses import dataclass
from hydra.core.config_store import ConfigStore

@dataclass
class Optim:
    lr: float = 0.1
    betas: tuple[float, ...] = (0.9,)

ConfigStore.instance().store(group="optim", name="base", node=Optim)
pairs = trainctl.Pairs("task", "model")

@pairs.register("sequence", "rnn")
def for_steps(cfg):
    cfg.model.inputs = cfg.task.width
    cfg.model.hidden = 99

pairs.allow("*", "mlp")

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    live = trainctl.live(cfg)
    for _ in range(5):
        live.step()

if __name__ == "__main__":
    main()
"""
FILES = {
    "conf/config.yaml": "defaults: [trainctl, task: sequence, model: mlp, optim: fast, _self_]\nseed: 1\n"
    "out: ${hydra:job.name}\ntrainctl: {pairs: app.pairs, panel: {enabled: false}}\n",
    "conf/task/sequence.yaml": "name: sequence\nwidth: 8\n",
    "conf/model/rnn.yaml": "defaults: [part, _self_]\nname: rnn\ninputs: ???\nhidden: 16\ndepth: 2\n",
    "conf/model/part.yaml": "hidden: 4\nbias: true\n",
    "conf/model/mlp.yaml": "name: mlp\n",
    "conf/optim/fast.yaml": "lr: 0.5\n",
}
Start = Callable[..., RunDir]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    (tmp_path / "app.py").write_text(APP)
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(name: str, *overrides: str) -> RunDir:
        command = [sys.executable, "app.py", f"hydra.run.dir={name}", *overrides]
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return RunDir.at(tmp_path / name)

    return run


def said(settings: list[Setting], tmp_path: Path) -> list[tuple[object, str]]:
    return [(each.value, str(each.source).replace(f"{tmp_path}/", "")) for each in settings]


def test_run_tells_what_set_each_value_and_what_that_replaced(start: Start, tmp_path: Path) -> None:
    (tmp_path / "edits.yaml").write_text("0: {optim: {lr: 0.5}}\n3: {optim: {lr: 0.25}}\n")
    run = start(
        "run",
        "model=rnn",
        "model.depth=3",
        "+extra.deep=1",
        "~seed",
        "trainctl.replay=edits.yaml",
        "trainctl.drift=allow",
    )
    history = explain_run(run).history
    rnn = "conf/model/rnn.yaml (model=rnn on the command line)"
    pair = "pair task=sequence model=rnn (app.for_steps)"
    assert said(history["model.hidden"], tmp_path) == [
        (4, "conf/model/part.yaml (in the defaults of model/rnn)"),
        (16, rnn),
        (99, pair),
    ]
    assert said(history["model.inputs"], tmp_path) == [("???", rnn), (8, pair)]
    assert said(history["model.depth"], tmp_path) == [(2, rnn), (3, "command line model.depth=3")]
    assert said(history["extra.deep"], tmp_path) == [(1, "command line +extra.deep=1")]
    assert said(history["task.width"], tmp_path) == [(8, "conf/task/sequence.yaml (task=sequence in config)")]
    assert said(history["out"], tmp_path) == [("${hydra:job.name}", "conf/config.yaml")]
    assert history["seed"][-1].is_gone
    assert said(history["seed"][-1:], tmp_path) == [(None, "command line ~seed")]
    assert "seed" not in history.keys()  # noqa: SIM118  # no mapping
    *_, (lr, source) = said(history["optim.lr"], tmp_path)
    assert (lr, source.split(",")[0].startswith("edit at step 3")) == (0.25, True)


def test_program_is_not_imported_and_what_only_it_knows_is_said(start: Start, tmp_path: Path) -> None:
    (tmp_path / "conf/optim/fast.yaml").write_text("defaults: [base, _self_]\nlr: 0.5\n")
    run = start("run", "seed=2")
    (tmp_path / "app.py").write_text("raise SystemExit('imported')")
    explanation = explain_run(run)
    assert [sentence.partition(":")[0] for sentence in explanation.unknown] == [
        "which config file set a value is unknown, because they cannot be read as they were"
    ]
    assert "optim/base" in explanation.unknown[0]
    assert "ask it by `trainctl explain --app" in explanation.unknown[0]
    assert explanation.unknown[0].endswith("app.py seed=2`")
    assert said(explanation.history["seed"], tmp_path) == [(2, "command line seed=2")]
    assert explanation.history["optim.lr"][0].source.kind == "unknown"


def test_what_a_source_has_loaded_is_known_where_the_files_are_not(start: Start, tmp_path: Path) -> None:
    (tmp_path / "conf/optim/fast.yaml").write_text("defaults: [base, _self_]\nlr: 0.5\n")
    (tmp_path / "more.yaml").write_text("optim: {lr: 0.3}\nseed: 4\n")
    history = explain_run(start("run", "+from=yaml/more.yaml", "seed=2")).history
    assert said(history["seed"], tmp_path)[-1] == (2, "command line seed=2")
    assert said(history["optim.lr"], tmp_path) == [(0.3, "+from=yaml/more.yaml (more.yaml)")]


PLUGIN = """
from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

class Colours(SearchPathPlugin):
    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append(provider="colours", path="pkg://hydra_plugins.colours.conf")

class Broken(SearchPathPlugin):
    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if not any(each.provider == "main" for each in search_path.get_path()):
            raise ValueError("no main")
"""


@pytest.mark.slow
def test_config_groups_of_an_installed_plugin_are_read(start: Start, tmp_path: Path) -> None:
    """As hydra-colorlog adds `hydra/job_logging: colorlog`. A package that only the run names is not imported."""
    site = tmp_path / "site"
    for name, text in {
        "hydra_plugins/colours/__init__.py": PLUGIN,
        "hydra_plugins/colours/conf/__init__.py": "",
        "hydra_plugins/colours/conf/hydra/job_logging/colours.yaml": "version: 1\nroot: null\n",
        "hydra_plugins/colours/conf/optim/plugged.yaml": "lr: 0.7\n",
        "named_by_the_run.py": f"open({str(tmp_path / 'imported')!r}, 'w')\n",
    }.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    config = tmp_path / "conf/config.yaml"
    config.write_text(config.read_text().replace("optim: fast", "optim: plugged, override hydra/job_logging: colours"))
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}

    def call(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    call("app.py", "hydra.run.dir=run")
    said_of_hydra = tmp_path / "run/.hydra/hydra.yaml"
    said_of_hydra.write_text(
        said_of_hydra.read_text().replace(
            "    config_sources:\n",
            "    config_sources:\n    - {path: named_by_the_run, schema: pkg, provider: main}\n",
        )
    )
    assert "named_by_the_run" in said_of_hydra.read_text()
    [lr] = [
        each
        for each in json.loads(call("-c", "from trainctl.cli import main; main()", "explain", "run", "--json"))
        if each["key"] == "optim.lr"
    ]
    assert lr["set"] == [{"kind": "file", "source": "optim/plugged of colours (optim=plugged in config)", "value": 0.7}]
    assert not (tmp_path / "imported").exists()


def test_files_that_have_changed_since_are_said_to(start: Start, tmp_path: Path) -> None:
    run = start("run")
    (tmp_path / "conf/optim/fast.yaml").write_text("lr: 0.7\n")
    assert said(explain_run(run).history["optim.lr"], tmp_path) == [
        (0.7, "conf/optim/fast.yaml (optim=fast in config)"),
        (0.5, "unknown (the config files have changed since)"),
    ]
    (tmp_path / "conf").rename(tmp_path / "elsewhere")
    explanation = explain_run(run)
    assert explanation.unknown
    assert explanation.history["optim.lr"][-1].source.kind == "unknown"


@pytest.mark.slow
def test_earlier_run_is_named_with_what_it_loaded(start: Start, tmp_path: Path) -> None:
    start("first", "model=rnn", "optim.lr=0.3", "model.hidden=7")
    history = explain_run(start("second", "+from=run/first", "seed=9")).history
    loaded = "+from=run/first (first)"
    assert said(history["optim.lr"], tmp_path) == [(0.5, "conf/optim/fast.yaml (optim=fast in config)"), (0.3, loaded)]
    assert said(history["model.hidden"], tmp_path)[-2:] == [
        (16, "conf/model/rnn.yaml (model=rnn by +from)"),
        (7, loaded),
    ]
    assert said(history["seed"], tmp_path)[-1] == (9, "command line seed=9")


def test_source_below_a_key_is_named_for_what_it_set_there(start: Start, tmp_path: Path) -> None:
    (tmp_path / "optim.json").write_text('{"lr": 2}')  # an int where the config has a float
    (tmp_path / "model.json").write_text('{"hidden": 7, "in-puts": 1, "new": {"z": 4}}')
    config = tmp_path / "conf/model/rnn.yaml"
    config.write_text(f"{config.read_text()}in_puts: 0\n")
    sources = ("+from@optim=json/optim.json", "+from@model=json/model.json", "+from_unknown=add")
    history = explain_run(start("run", "model=rnn", *sources, "model.new.z=5")).history
    optim, model = "+from@optim=json/optim.json (optim.json)", "+from@model=json/model.json (model.json)"
    assert said(history["optim.lr"], tmp_path)[-1] == (2.0, optim)
    assert type(history["optim.lr"][-1].value) is float
    assert said(history["model.hidden"], tmp_path)[-1] == (7, model)  # over the pair's 99
    assert said(history["model.in_puts"], tmp_path)[-1] == (1, model)
    assert said(history["model.new.z"], tmp_path) == [(4, model), (5, "command line model.new.z=5")]
    assert said(history["model.depth"], tmp_path)[-1] == (2, "conf/model/rnn.yaml (model=rnn on the command line)")


def test_run_without_hydra_has_its_edits(tmp_path: Path) -> None:
    run = RunDir.at(tmp_path / "run")
    run.create()
    files.write_yaml(run.run, {"name": "run"})
    with pytest.raises(RunDirError, match=r"has no config: neither \.hydra/config\.yaml nor changelog\.yaml"):
        explain_run(run)
    run.changelog.write_text("0: {lr: 0.1, n: 1}\n20: {lr: 0.01}  # 21:03:18 panel root: calmer\n")
    explanation = explain_run(run)
    assert explanation.unknown == ["what set the values at the start is unknown: there is no .hydra/hydra.yaml"]
    assert [(each.value, each.source.kind) for each in explanation.history["lr"]] == [(0.1, "unknown"), (0.01, "edit")]
    assert below(explanation.history, None) == ["lr", "n"]
    with pytest.raises(SettingError, match=r"^the config has no lrr; did you mean lr\?$"):
        check_key(explanation.history, "lrr")
