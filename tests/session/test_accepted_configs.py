"""Configs that Hydra accepts: resolvers with constants, drawn values, `???`, what the program sets before `live`."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue
from session_fixtures import Answered, EndRun, OpenLive

from trainctl.config.changelog import loads
from trainctl.errors import DriftError
from trainctl.rundir import files
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir
from trainctl.session.api import live

_counted = itertools.count()
RESOLVERS: dict[str, Callable[..., Any]] = {
    "test_mul": lambda one, other: one * other,
    "test_round": round,
    "test_noarg": lambda: 7,
    "test_prefix": lambda text: f"/data/{text}",
    "test_first": lambda texts: texts[0],
    "test_draw": lambda *_: next(_counted),
}


@pytest.fixture(autouse=True, params=[False, True], ids=["", "cached"])
def resolvers(request: pytest.FixtureRequest) -> Iterator[None]:
    for name, resolver in RESOLVERS.items():
        OmegaConf.register_new_resolver(name, resolver, use_cache=request.param)
    yield
    for name in RESOLVERS:
        OmegaConf.clear_resolver(name)


def made(value: Any, **settings: Any) -> DictConfig:
    config = OmegaConf.create({"x": value, "width": 8, "deep": {"y": [value]}, "n": 1})
    config.trainctl = {"poll_s": 0.005, **settings}
    OmegaConf.set_struct(config, True)
    return config


@pytest.mark.parametrize(
    ("text", "recorded", "value"),
    [
        ("${test_mul:2,3}", 6, 6),
        ("${test_mul:2.5,${test_mul:2,3}}", 15.0, 15.0),
        ("${test_mul:2,3}-${test_noarg:}", "6-7", "6-7"),
        ("${test_noarg:}", 7, 7),
        ("${test_round:2.567,1}", 2.6, 2.6),
        ("${test_prefix:a}/b", "/data/a/b", "/data/a/b"),
        ("${test_prefix:'a b'}", "/data/a b", "/data/a b"),
        ("${test_first:[a,b]}", "a", "a"),
        ("${test_mul:${width},3}", "${test_mul:${width},3}", 24),
        ("${oc.select:nope,5}", 5, 5),
        ("${oc.select:nope}", None, None),
        ("${oc.select:width,5}", "${oc.select:width,5}", 8),
        ("${oc.create:{a:1,b:[1,2]}}", {"a": 1, "b": [1, 2]}, {"a": 1, "b": [1, 2]}),
        ("${oc.env:TEST_VALUE}", "${oc.env:TEST_VALUE}", "v"),
        ("${oc.env:TEST_NOT_SET,9}", "${oc.env:TEST_NOT_SET,9}", "9"),
        ("${oc.env:TEST_NOT_SET,${width}}", "${oc.env:TEST_NOT_SET,${width}}", "8"),
        ("${oc.decode:'[1,2]'}", "${oc.decode:'[1,2]'}", [1, 2]),
        ("${oc.dict.keys:deep}", "${oc.dict.keys:deep}", ["y"]),
    ],
)
def test_config_with_resolvers_is_recorded_edited_and_replayed(
    open_live: OpenLive,
    run: RunDir,
    end_run: EndRun,
    answered: Answered,
    monkeypatch: pytest.MonkeyPatch,
    *,
    text: str,
    recorded: Any,
    value: Any,
) -> None:
    monkeypatch.setenv("TEST_VALUE", "v")
    session = open_live(made(text))
    assert session.config.x == value
    base = loads(run.changelog.read_bytes()).base
    assert (base["x"], base["deep"]["y"][0]) == (recorded, recorded)
    assert answered(session, file_request(run, {"n": "2"}, via="test")).state == "applied"
    step = session.step_number
    end_run()
    again = live(made(text, replay=str(run.path)), run_dir=run.path.with_name("again"))
    while again.step_number < step:
        again.step()
    assert (again.config.n, again.config.x) == (2, value)


def test_drawn_values_are_one_for_all_attempts_and_those_of_the_record_in_a_replay(
    open_live: OpenLive, run: RunDir, end_run: EndRun
) -> None:
    first = open_live(made("${test_draw:}-${width}"))
    value, item = first.config.x, first.config.deep.y[0]
    assert (first.config.x, first.now.x) == (value, value)
    end_run()
    second = open_live(made("${test_draw:}-${width}"))
    assert (second.config.x, second.config.deep.y[0]) == (value, item)
    end_run()
    again = live(made("${test_draw:}-${width}", replay=str(run.path)), run_dir=run.path.with_name("again"))
    assert (again.config.x, again.config.deep.y[0]) == (value, item)


def test_missing_value_is_an_error_only_when_it_is_read_and_an_edit_can_give_it(
    open_live: OpenLive, run: RunDir, answered: Answered
) -> None:
    session = open_live(made("???"))
    with pytest.raises(MissingMandatoryValue):
        _ = session.config.x
    assert loads(run.changelog.read_bytes()).base["x"] == "???"
    assert answered(session, file_request(run, {"x": "3"}, via="test")).state == "applied"
    assert session.config.x == 3
    assert answered(session, file_request(run, {}, via="test", undo=True)).state == "applied"
    assert OmegaConf.is_missing(session.config, "x")


def test_config_that_was_changed_in_code_is_another_one(open_live: OpenLive, run: RunDir, end_run: EndRun) -> None:
    open_live(made(1))
    end_run()
    with pytest.raises(
        DriftError, match=r"deep\.y: recorded \[1\], now \[2\]; x: recorded 1, now 2.*identity\.exclude"
    ):
        open_live(made(2))
    end_run()
    allowed = open_live(made(2, drift="allow"))
    allowed.step()
    assert loads(run.changelog.read_bytes()).at(1)["x"] == 2  # what the attempt was started with is recorded
    end_run()
    again = live(made(2, replay=str(run.path)), run_dir=run.path.with_name("again"))
    again.step()
    assert again.config.x == 2


def test_excluded_key_may_differ_in_a_later_attempt(open_live: OpenLive, run: RunDir, end_run: EndRun) -> None:
    open_live(made(1))
    end_run()
    session = open_live(made(2, identity={"exclude": ["x", "deep"]}))
    session.step()
    assert loads(run.changelog.read_bytes()).at(1)["x"] == session.config.x == 2


def test_ranks_that_cannot_meet_yet_are_told_that_each_has_drawn_its_own(
    run: RunDir, end_run: EndRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    live(made("${test_draw:}"), run_dir=run.path)
    assert "each rank has drawn deep.y.0, x for itself: all have rank 0's values from the first step on" in caplog.text
    end_run()


TRAINCTL = ("-c", "from trainctl.cli import main; main()")
APP = """
import os, signal, time
import hydra, trainctl
from omegaconf import open_dict

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    live = trainctl.live(cfg) if cfg.how == "after" else None
    with open_dict(cfg):
        cfg.model.classes = int(os.environ.get("CLASSES", "10"))
        cfg.model.extra = [1]
        cfg.made = {"deep": {"list": [1, {"a": 2}], "here": 1}}
        cfg.kind = {"name": cfg.kind}
        cfg.filled.a = 1
        del cfg.emptied.a
        if cfg.how != "never": cfg.model.data = "set"
    live = live or trainctl.live(cfg)
    for step in live.track(range(3)):
        live.log(loss=cfg.lr * cfg.model.classes / (step + 1))
    if os.environ.get("DIE") and not os.path.exists("died"):
        open("died", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    print("seen", cfg.model.data, flush=True)
    return float(cfg.model.classes)

if __name__ == "__main__": main()
"""
CONFIG = """
defaults: [trainctl, _self_]
lr: 0.1
how: before
model: {classes: null, data: "???"}
kind: plain
filled: {}
emptied: {a: 1}
trainctl: {panel: {enabled: false}}
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path


def start(app: Path, *arguments: str, code: int = 0, program: Sequence[str] = ("app.py",), **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=app,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("resolvers", [False], indirect=True)
@pytest.mark.parametrize("how", ["before", "after"])
def test_what_the_program_sets_is_no_drift_in_a_replay_or_after_a_kill(app: Path, how: str) -> None:
    asked = (f"how={how}", "hydra.run.dir=o")
    start(app, *asked, code=-9, DIE="1")
    assert "seen set" in start(app, *asked)
    run = RunDir.at(app / "o")
    recorded = files.read_mapping(run.run).get("composed")
    before = {"emptied": "???", "emptied.a": 1, "filled": {}, "filled.a": "???", "kind": "plain", "kind.name": "???"}
    before |= {"made.deep.here": "???", "made.deep.list": "???"}
    before |= {"model.classes": None, "model.data": "???", "model.extra": "???"}
    assert recorded == (before if how == "before" else None)
    assert loads(run.changelog.read_bytes()).base["model"]["classes"] == (10 if how == "before" else None)
    verified = start(app, "replay", "o", "--verify", program=TRAINCTL)
    assert "identical: 3 metric records, return value 10.0" in verified


@pytest.mark.slow
@pytest.mark.parametrize("resolvers", [False], indirect=True)
def test_program_that_sets_something_else_before_live_is_named(app: Path) -> None:
    start(app, "hydra.run.dir=o")
    said = start(app, "hydra.run.dir=o", code=1, CLASSES="11")
    assert "model.classes: recorded 10, now 11" in said
    said = start(app, "hydra.run.dir=o", "lr=0.2", code=1)
    assert "lr: recorded 0.1, now 0.2" in said
    assert "model" not in said.partition("differs")[2]


@pytest.mark.slow
@pytest.mark.parametrize("resolvers", [False], indirect=True)
def test_missing_values_stop_a_program_where_it_reads_one_and_a_sweep_warns_once_before(app: Path) -> None:
    said = start(app, "how=never", "hydra.run.dir=o", code=1)
    assert "Missing mandatory value: model.data" in said
    assert "values are missing: model.data" in start(app, "trainctl.missing=error", "hydra.run.dir=p", code=1)
    for launcher in ("slots", "basic", "joblib"):
        said = start(app, "-m", "+m={a:???},{b:???}", f"hydra/launcher={launcher}", f"hydra.sweep.dir={launcher}")
        assert said.count("no value for") == said.count("no value for m.a, m.b, model.data:") == 1, said
        assert launcher != "slots" or said.index("no value for") < said.index("START")
        assert len(list((app / launcher).glob("*/result.yaml"))) == 2
    said = start(app, "-m", "lr=1,2", "trainctl.missing=error", "hydra.sweep.dir=refused", code=1)
    assert "values are missing: model.data" in said
    assert not list((app / "refused").glob("*/result.yaml"))
