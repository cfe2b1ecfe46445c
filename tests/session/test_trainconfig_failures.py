"""The seventeen known failures of trainconfig (0.x), each as a test of ours; below its name stands what fails there."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from session_fixtures import StartToy, edits

from trainctl.attempt import attempt
from trainctl.config import editor_sheet, yaml
from trainctl.config.changelog import loads
from trainctl.config.controls import keys_of
from trainctl.config.keys import leaves
from trainctl.errors import ChangelogError, DriftError
from trainctl.rundir import files
from trainctl.rundir.events import answer, read_events, wait_for_answer
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import state_of
from trainctl.session.api import live
from trainctl.session.live import Live


class Trial:
    """A run that is edited in this process, and its replay."""

    def __init__(self, run: RunDir, open_live: Callable[..., Live], ask: Callable[..., str]) -> None:
        self.run = run
        self._open = open_live
        self._ask = ask

    def begin(self, text: str, **settings: Any) -> Live:
        """Start the run, or one more attempt of it."""
        self._text, self._settings = text, settings
        self.live = self._open(self._config())
        return self.live

    def edit(self, **edits: str) -> None:
        """Ask for one edit and make a step."""
        self.ask(edits)
        self.live.step()

    def ask(self, edits: dict[str, str]) -> str:
        return self._ask(self.live, edits)

    def refusal(self, **edits: str) -> str:
        """Ask for what is refused at the next step; return the reason."""
        request = self.ask(edits)
        self.live.step()
        found = answer(self.run, request)
        assert found is not None
        assert found.state == "rejected"
        return found.reason or ""

    def replay(self, steps: int) -> list[dict[str, Any]]:
        """End the run, and replay it; return the config at each step, and see that its record is the same."""
        self.end()
        copy = RunDir.at(self.run.path.with_name("replay"))
        session = live(self._config(replay=str(self.run.path)), run_dir=copy.path)
        seen = [values(session) for _ in range(steps) if session.step()]
        self.end()
        assert edits(copy) == edits(self.run)
        return seen

    def end(self) -> None:
        current = attempt.current()
        assert current is not None
        current.end("done", exit_code=0)

    def _config(self, **more: str) -> DictConfig:
        return OmegaConf.create({**yaml.loads(self._text), "trainctl": {"poll_s": 0.005, **self._settings, **more}})


@pytest.fixture
def trial(run: RunDir, open_live: Callable[..., Live], ask: Callable[..., str]) -> Trial:
    return Trial(run, open_live, ask)


def values(session: Live) -> dict[str, Any]:
    found = OmegaConf.to_container(session.config, resolve=True)
    assert isinstance(found, dict)
    return {key: value for key, value in found.items() if key != "trainctl"}


def test_1e_4_is_a_number(trial: Trial) -> None:
    """PyYAML reads it as text, and the page then gives the training a text or a number, whatever was touched last."""
    session = trial.begin("lr: 1e-4\n")
    assert session.now.lr == 1e-4
    trial.edit(lr="3e-4")
    assert session.config.lr == session.now.lr == 3e-4
    assert edits(trial.run) == [(1, {"lr": 3e-4})]
    assert trial.replay(2) == [{"lr": 3e-4}, {"lr": 3e-4}]


def test_opening_page_or_editor_is_no_edit(trial: Trial) -> None:
    """All fields are read back as Python literals: a text that looks like one is changed by looking at it."""
    from trainctl.panel.widgets.pending import change_of, text_of

    text = (
        "lr: 1e-4\nname: '1e-4'\nno: 'False'\nlist: '[1]'\nnothing: null\nb: [1, {c: [x]}]\nf: 1.0\nempty: {}\ni: 7\n"
    )
    config = values(trial.begin(text))
    keys = keys_of(OmegaConf.create(config), {}, editable=True)
    for key, value in leaves(config).items():
        assert change_of(key, text_of(value, keys[key]), value, keys) is None, key
    assert editor_sheet.changes(config, editor_sheet.write(config, keys, "head"), keys) == {}
    trial.live.step()
    assert (edits(trial.run), read_events(trial.run)) == ([], [])


def test_drift_of_the_base_config_is_told_and_wipes_no_schedule(trial: Trial, tmp_path: Path) -> None:
    """A config that was changed meanwhile counts as an edit at step 1, which deletes all later ones from the file."""
    trial.begin("{lr: 0.1, n: 1}").step()
    trial.edit(n="2")
    trial.end()
    before = trial.run.changelog.read_bytes()
    config = {"lr": 0.5, "n": 1, "trainctl": {"replay": str(trial.run.path), "drift": "error"}}
    with pytest.raises(DriftError, match=r"lr: recorded 0\.1, now 0\.5"):
        live(OmegaConf.create(config), run_dir=tmp_path / "refused")
    config["trainctl"] = {"replay": str(trial.run.path), "drift": "allow"}
    session = live(OmegaConf.create(config), run_dir=tmp_path / "allowed")
    assert [values(session) for _ in range(3) if session.step()] == [{"lr": 0.5, "n": n} for n in (1, 2, 2)]
    assert trial.run.changelog.read_bytes() == before


def test_list_of_mappings_is_edited_and_replayed(trial: Trial) -> None:
    """Its changes are written as a mapping of indices, which the next start cannot apply."""
    wanted = [{"size": 3, "act": "relu"}, {"size": 8, "act": "relu"}, {"size": 2, "act": "none"}]
    session = trial.begin("layers: [{size: 3, act: relu}, {size: 4, act: relu}]\n")
    trial.edit(layers=repr(wanted))
    assert session.now.layers[1].size == 8
    assert edits(trial.run) == [(1, {"layers": wanted})]
    assert trial.replay(1) == [{"layers": wanted}]


def test_scalar_becomes_a_list_and_a_list_a_scalar(trial: Trial) -> None:
    """The first is written, the second ends the training by an AttributeError."""
    trial.begin("{size: 3, lr: 0.1}", controls={"size": {"type": "any"}})
    reason = trial.refusal(lr="[0.1, 0.2]")  # unless its control says so, a key keeps its type
    assert "lr=[0.1, 0.2]: the key takes a number (float)" in reason
    for value in ("[3, 4]", "5", "{a: 1}", "null"):
        trial.edit(size=value)
    assert edits(trial.run) == [(2, {"size": [3, 4]}), (3, {"size": 5}), (4, {"size": {"a": 1}}), (5, {"size": None})]
    assert [one["size"] for one in trial.replay(5)] == [3, [3, 4], 5, {"a": 1}, None]


def test_list_grows_and_shrinks(trial: Trial) -> None:
    """A longer one ends the replay by an IndexError, a shorter one is not a change."""
    session = trial.begin("betas: [0.9, 0.999]\n")
    lists = [[0.9, 0.999, 0.5], [0.9], [], [0.1]]
    for value in lists:
        trial.edit(betas=repr(value))
        assert list(session.now.betas) == value
    assert edits(trial.run) == [(step, {"betas": value}) for step, value in enumerate(lists, 1)]
    assert [one["betas"] for one in trial.replay(4)] == lists


def test_nan_is_no_edit_at_each_step_and_cannot_be_asked_for(trial: Trial) -> None:
    """NaN differs from itself: it is an edit at every step, each of which deletes all scheduled ones."""
    session = trial.begin("{best: .nan, n: 1}")
    for _ in range(5):
        session.step()
    assert edits(trial.run) == []
    assert "best=nan: the key takes a finite number" in trial.refusal(best="nan")
    trial.edit(n="2")
    seen = trial.replay(8)  # where it is not a drift either
    assert [one["n"] for one in seen] == [1] * 6 + [2] * 2
    assert all(math.isnan(one["best"]) for one in seen)


def test_weight_decay_and_weight_norm_are_two_keys(trial: Trial) -> None:
    """A key ends at its first character that is not a letter or digit: both are `weight`, and the later one wins."""
    session = trial.begin("{weight-decay: 0.1, weight-norm: true, weight: 3, 'weight.x': 1, 'weight x': 2}")
    trial.edit(**{"weight-decay": "0.2", r"weight\.x": "5"})
    wanted = {"weight-decay": 0.2, "weight-norm": True, "weight": 3, "weight.x": 5, "weight x": 2}
    assert values(session) == wanted
    assert trial.replay(1) == [wanted]


def test_1_and_true_are_two_values(trial: Trial) -> None:
    """They are equal in Python, so the edit is not a change."""
    trial.begin("{n: 1, flag: 1}", controls={"flag": {"type": "any"}})
    assert "n=true: the key takes a whole number (int)" in trial.refusal(n="true")
    for value in ("true", "1", "1.0"):
        trial.edit(flag=value)
    kept = [(step, values["flag"], type(values["flag"])) for step, values in edits(trial.run)]
    assert kept == [(2, True, bool), (3, 1, int), (4, 1.0, float)]
    assert [type(one["flag"]) for one in trial.replay(4)] == [int, bool, int, float]


def test_run_without_edits_has_a_record(trial: Trial) -> None:
    """The file is written at the first edit: without one it stays empty, and nothing tells what was trained."""
    trial.begin("lr: 0.1\n")
    assert loads(trial.run.changelog.read_bytes()).at(0)["lr"] == 0.1  # from the start on, should it be killed
    trial.live.step()
    assert trial.replay(2) == [{"lr": 0.1}] * 2


def test_requests_made_in_the_same_moment_are_all_applied(trial: Trial) -> None:
    """What the page writes between the training's reading and writing is lost; of two pages the later one wins all."""
    session = trial.begin("{a: 0, b: 0, c: 0}")
    asked = [file_request(trial.run, {key: "1"}, via=f"page {key}") for key in "abc"]
    while not all(answer(trial.run, request) for request in asked):
        session.step()
    assert values(session) == {"a": 1, "b": 1, "c": 1}
    assert [event.id for event in read_events(trial.run) if event.state == "applied"] == asked


def test_two_runs_at_once_share_nothing(tmp_path: Path, start_toy: StartToy) -> None:
    """All runs of a user share one database: an edit goes to whoever looks first, and who ends deletes it for all."""
    runs = [RunDir.at(tmp_path / name) for name in ("one", "other")]
    trainings = [start_toy(run.path, TOY_ENDLESS="1") for run in runs]
    for training in trainings:
        assert training.stdout is not None
        assert training.stdout.readline() == "ready\n"

    def change(run: RunDir, value: int) -> None:
        found = wait_for_answer(run, file_request(run, {"x": str(value)}, via="test"), 60)
        assert found is not None
        assert found.state == "applied"

    change(runs[0], 1)
    change(runs[1], 2)
    trainings[0].send_signal(signal.SIGTERM)
    trainings[0].wait(60)
    change(runs[1], 3)
    assert state_of(runs[1]) == "running"
    assert [[values["x"] for _, values in edits(run)] for run in runs] == [[1], [2, 3]]


def test_truncated_changelog_is_told_by_its_line(trial: Trial) -> None:
    """A file that was cut off reads as a shorter one; the next edit writes over it, and the rest is gone for good."""
    text = "model: {depth: 3, width: 4}\nlr: 0.1\n"
    trial.begin(text)
    for value in ("0.2", "0.3"):
        trial.edit(lr=value)
    trial.end()
    lines = trial.run.changelog.read_bytes().splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if line.startswith(b"1:"))
    for left, told in ((lines[: first - 2], 3), ([*lines[: first + 1], *lines[first + 3 :]], first + 1)):
        trial.run.changelog.write_bytes(b"".join(left))
        with pytest.raises(ChangelogError, match=f"line {told}: step . has no end mark"):
            trial.begin(text)
        assert trial.run.changelog.read_bytes() == b"".join(left)


def test_live_edit_of_a_replay_deletes_no_later_ones(trial: Trial, tmp_path: Path) -> None:
    """It deletes all that was recorded for later steps, from the file too, with a warning."""
    recorded = tmp_path / "recorded.yaml"
    recorded.write_text("0: {n: 1, lr: 0.1}\n4: {n: 5}\n")
    session = trial.begin("{n: 1, lr: 0.1}", replay=str(recorded))
    assert "trainctl.replay_mode=follow" in trial.refusal(lr="0.2")
    assert [values(session) for _ in range(4) if session.step()] == [{"n": n, "lr": 0.1} for n in (1, 1, 5, 5)]
    assert recorded.read_text() == "0: {n: 1, lr: 0.1}\n4: {n: 5}\n"


def test_locks_and_bounds_hold_whoever_asks(trial: Trial) -> None:
    """They are known to the page alone, which shows types and bounds but does not check them."""
    session = trial.begin("{lr: 0.1, seed: 3}", controls={"lr": "[float|1e-6|1|log]", "seed": "!"})
    asked = ("seed: 4", "lr: 2", "lr: x", "{lr: 1, seed: 1}")
    for number, content in enumerate(asked):
        files.write_atomic(trial.run.inbox / f"{number}.yaml", content)
    while len(final := [event.state for event in read_events(trial.run) if event.is_final]) < len(asked):
        session.step()
    assert final == ["rejected"] * len(asked)
    assert values(session) == {"lr": 0.1, "seed": 3}
    assert edits(trial.run) == []


@pytest.mark.parametrize("text", ["1", "1e-4", "None", "True", "[1, 2]", "{a: 1}", "0x10", "'x'", " x ", ""])
def test_text_stays_text(trial: Trial, text: str) -> None:
    """What is typed is read as a Python literal: the name 1 becomes a number, None becomes nothing."""
    session = trial.begin("name: a\n")
    trial.edit(name=text)
    assert session.config.name == session.now.name == text
    assert trial.replay(1) == [{"name": text}]


def test_keys_of_any_kind_are_told_apart(trial: Trial) -> None:
    """a.b and a_b are one field, which ends the page; a number as a key ends the start, as does one of signs alone."""
    session = trial.begin("a: {b: 1}\na_b: 2\n3: 4\n'-': 5\nschön: 6\n")
    trial.edit(**{"a.b": "7", "3": "8", "-": "9", "schön": "10"})
    assert values(session) == {"a": {"b": 7}, "a_b": 2, 3: 8, "-": 9, "schön": 10}
    assert trial.replay(1) == [values(session)]
