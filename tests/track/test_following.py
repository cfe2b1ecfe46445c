"""What all trackers have in common: when they begin and end, who sends, what is refused, what is left out."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from killing import ROOT, TRAINING
from project_processes import run_python
from tracker_names import key_of

from trainctl.config import yaml
from trainctl.config.changelog import Changelog, Edit, dumps
from trainctl.errors import SettingError
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.track import cursor as cursors
from trainctl.track import feed, following, names
from trainctl.track.cursor import Cursor, read_after
from trainctl.track.facts import OMITTED, Told
from trainctl.track.sync import sync
from trainctl.track.tensorboard import read_scalars
from trainctl.track.tracker import MetricRecord, ValueChange


def test_an_unknown_tracker_is_refused_before_training(train: Any) -> None:
    with pytest.raises(SettingError, match="'comet' is not a tracker; allowed are mlflow, tensorboard, wandb"):
        train("comet")


def test_a_missing_package_is_one_sentence_with_its_extra(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"needs the package mlflow: pip install 'hydra-trainctl\[mlflow\]'"):
        train("mlflow")


def test_secrets_and_omitted_keys_are_told_to_nobody(run: RunDir) -> None:
    run.create()
    config = {
        "api_key": "sesame-street", "data": {"path": "/private", "size": 3}, "max_tokens": 9,
        "trainctl": {"omit": ["data.path"], "hidden": ["!max_tokens"]},
    }  # fmt: skip
    edits = [Edit(4, {"api_key": "open-sesame", "data.size": 5}, note="was sesame-street")]
    run.changelog.write_text(dumps(Changelog(config, edits)))
    files.write_yaml(run.run, {"overrides": ["api_key=sesame-street", "data.size=3"]})
    told = Told(run)
    facts = told.facts()
    assert facts.config["api_key"] == facts.config["data.path"] == OMITTED
    assert (facts.config["data.size"], facts.config["max_tokens"]) == (3, 9)
    assert facts.overrides == ["api_key=OMITTED", "data.size=3"]
    assert yaml.loads(told.text())[4] == {"api_key": OMITTED, "data": {"size": 5}}
    everything = f"{facts} {told.text()} {list(told.changes())}"
    assert not any(secret in everything for secret in ("sesame-street", "open-sesame", "/private"))


def test_a_program_that_ends_at_once_is_sent_whole(run: RunDir) -> None:
    pytest.importorskip("tensorboard")
    command = [sys.executable, str(TRAINING), str(run.path), "tensorboard", "5"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    (synced,) = sync(run, ["tensorboard"])  # where the machine was too busy for it to end in time
    assert synced.problem is None
    assert read_scalars(run.path)["loss"] == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_tracker_that_raises_costs_one_warning_and_no_training(
    train: Any, finish: Any, run: RunDir, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tensorboard")
    calls: list[int] = []

    def broken(name: str, of: RunDir) -> Any:
        calls.append(1)
        raise RuntimeError("the library is broken")

    monkeypatch.setattr(feed, "make_tracker", broken)
    monkeypatch.setattr(following, "_PATIENCE_S", 0)
    monkeypatch.setattr(following, "_LOOK_S", 0.01)
    monkeypatch.setattr(following.TrackerThread, "_leave_to_another", lambda self, seconds: False)
    session = train("tensorboard", lr=0.1)
    while len(calls) < 4:
        session.log(loss=float(session.step()))
    finish()
    said = [record.getMessage() for record in caplog.records if record.name.startswith("trainctl.track")]
    assert [text.partition(":")[0] for text in said] == [
        "tensorboard does not take this run for now", "tensorboard has not got all of this run; it is sent by",
    ]  # fmt: skip
    assert said[1].endswith(f"trainctl sync {run.path}")
    assert not [one for one in threading.enumerate() if one.name.startswith("trainctl-tensorboard")]


def test_only_one_sends_at_a_time(run: RunDir) -> None:
    pytest.importorskip("tensorboard")
    run.create()
    run.changelog.write_text(dumps(Changelog({"lr": 0.1})))
    lock = cursors.lock_of(run, "tensorboard")
    assert lock.acquire()
    assert sync(run, ["tensorboard"])[0].problem == "the run itself, or another sync, is sending it now"
    lock.release()
    assert sync(run, ["tensorboard"])[0].problem is None


class Heard:
    """A tracker that keeps what it is told."""

    has_lost_all = is_attached = is_over = False

    def __init__(self, _run: RunDir) -> None:
        self.records: list[MetricRecord] = []
        self.edits: list[ValueChange] = []

    def metrics(self, records: list[MetricRecord]) -> None:
        self.records += records

    def changes(self, changes: list[ValueChange]) -> None:
        self.edits += changes

    def __getattr__(self, name: str) -> Any:
        return lambda *_: {"made": True} if name in ("open", "kept") else None


def test_steps_that_no_tracker_takes_are_passed_over_and_long_values_are_told_apart(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard(run)
    monkeypatch.setattr(feed, "make_tracker", lambda name, of: heard)
    run.create()
    texts = [300 * "a" + end for end in "xy"]
    run.changelog.write_text(dumps(Changelog({"note": ""}, [Edit(2, {"note": texts[0]})])))
    files.append_lines(run.metrics, [{"step": step, "loss": 1.0} for step in (1, 2**63, 2)])
    sender = feed.Feed(run, "tensorboard")
    sender.round()
    run.changelog.write_text(dumps(Changelog({"note": ""}, [Edit(2, {"note": texts[1]})])))
    sender.round()
    assert [record.step for record in heard.records] == [1, 2]
    assert [change.values["note"] for change in heard.edits] == ["", *texts]


def test_half_a_line_waits_and_a_replaced_file_is_read_from_what_is_new(tmp_path: Path) -> None:
    path, cursor = tmp_path / "metrics.jsonl", Cursor()
    path.write_text('{"step": 1, "t": 1.0}\n{"step": 2, "t": 2.0}\n{"step": 3, "t"')
    found, cursor.offset, cursor.inode, rewound = read_after(path, cursor, 10)
    assert ([one["step"] for one in found], rewound) == ([1, 2], None)
    cursor.t = 2.0
    assert read_after(path, cursor, 10)[0] == []
    path.with_name("metrics.1.jsonl").hardlink_to(path)  # as it is kept, so that its inode is not given to another
    for more in ("", '{"step": 2, "t": 9.0}\n'):  # what comes again may be written a moment later
        files.write_atomic(path, '{"step": 1, "t": 1.0}\n' + more)
        found, _, _, rewound = read_after(path, cursor, 10)
        assert (found, rewound) == ([{"step": 2, "t": 9.0}] if more else [], 1)


@given(st.text(max_size=30))
def test_mlflow_takes_every_key_and_gives_it_back(key: str) -> None:
    pytest.importorskip("mlflow")
    from mlflow.utils import validation

    name = names.to_mlflow(key)
    validation._validate_metric_name(name)
    validation._validate_param_name(name)
    validation._validate_tag_name(name)
    assert key_of(name) == key
    assert key_of(names.to_wandb(key)) == key


def test_long_keys_stay_apart() -> None:
    first, second = (names.to_mlflow("x" * 300 + end) for end in "ab")
    assert first != second
    assert len(first) <= 250


@given(st.lists(st.text(max_size=12), unique=True, max_size=30))
def test_two_keys_never_have_one_name(keys: list[str]) -> None:
    assert len({names.to_mlflow(key) for key in keys}) == len(keys)
    assert len({names.to_wandb(key) for key in keys}) == len(keys)


def test_temporary_directories_outlast_the_trackers_of_a_program_that_ends(tmp_path: Path) -> None:
    """Else W&B's client, which a thread may be starting just then, would never be told where its process listens."""
    (tmp_path / "app.py").write_text("""
import os, tempfile
from omegaconf import OmegaConf
import trainctl
from trainctl.attempt.attempt import current
live = trainctl.live(OmegaConf.create({"lr": 0.1, "trainctl": {"track": ["tensorboard"]}}), run_dir="run")
made = tempfile.TemporaryDirectory()
current().after_end(lambda: print("there" if os.path.isdir(made.name) else "gone", flush=True))
live.step()
""")
    done = run_python(tmp_path, "app.py", check=True)
    assert done.stdout.splitlines()[-1] == "there", done.stderr
