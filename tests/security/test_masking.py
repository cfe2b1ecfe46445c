"""Secrets: masked in everything that a page is made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainctl.config.changelog import Changelog, Edit, dumps
from trainctl.config.controls import Key
from trainctl.config.masking import MASK, Masking
from trainctl.panel.data.run_view import RunRow, RunView, read_view
from trainctl.panel.widgets.files import beginning, files_of
from trainctl.panel.widgets.log import read_end
from trainctl.rundir import files
from trainctl.rundir.events import read_events
from trainctl.rundir.paths import RunDir

SECRETS = ("sk-first-111", "sk-second-222", "hush-hush", "pass word 333")


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir.at(tmp_path / "run")
    run.create()
    config = {
        "lr": 0.1,
        "api": {"KEY": SECRETS[0], "keys": [SECRETS[0]]},
        "quiet": SECRETS[2],
        "login": {"password": SECRETS[3]},
        "told": f"uses {SECRETS[0]}",
        "max_tokens": 512,
        "trainctl": {"hidden": ["quiet", "!max_tokens"]},
    }
    log = Changelog(config, [Edit(3, {"api.KEY": SECRETS[1], "lr": 0.2})])
    run.changelog.write_text(dumps(log))
    names = ("lr", "api.KEY", "api.keys", "quiet", "login.password", "told", "max_tokens")
    files.write_yaml(run.run, {"keys": {name: Key("any").to_dict() for name in names}, "packages": {}})
    event = {"id": "a", "state": "rejected", "edits": {"api.KEY": SECRETS[1]}, "note": SECRETS[0]}
    files.append_lines(run.events, [{**event, "reason": f"{SECRETS[1]} is no key"}])
    run.log.write_text(f"logged in with {SECRETS[0]}\nKeyError: 'x'\n--api_key=another-one lr=1\n")
    (run.path / "other.json").write_text(json.dumps({"token": "a-third", "lr": 1}))
    return run


def view_of(run: RunDir) -> RunView:
    return read_view(RunRow.of(run), read_events(run))


def test_view_holds_no_secret(run: RunDir) -> None:
    view = view_of(run)
    told = str((view.values, view.changelog, view.events))
    assert [secret for secret in SECRETS if secret in told] == []
    assert view.values["api.KEY"] == MASK
    assert view.values["told"] == f"uses {MASK}"
    assert (view.values["lr"], view.values["max_tokens"]) == (0.2, 512)
    assert "secret" in str(view.keys["quiet"].locked)
    assert view.keys["lr"].locked is None


def test_log_and_files_are_shown_without_secrets(run: RunDir) -> None:
    masking = view_of(run).masking
    lines, _ = read_end(run.log, masking)
    assert lines[:3] == [f"logged in with {MASK}", "KeyError: 'x'", f"--api_key={MASK} lr=1"]
    for found in files_of(run):
        text = beginning(run, found.name, masking)
        assert [secret for secret in (*SECRETS, "a-third") if secret in text] == [], found.name


def test_files_of_a_run_lead_nowhere_else(run: RunDir, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("outside")
    (run.path / "link").symlink_to(tmp_path / "outside")
    (run.path / "dir").symlink_to(tmp_path)
    names = {found.name for found in files_of(run)}
    assert "changelog.yaml" in names
    assert not {name for name in names if name.startswith(("link", "dir", "..", "/"))}
    assert "cannot be read" in beginning(run, "link", Masking({}))


def test_long_word_takes_no_more_than_its_length() -> None:
    word = "y" * 1_000_000  # a log may have a line of any length, and pages follow it: its square would take hours
    assert Masking({}).text(word) == word
    assert Masking({}).text("a-b--my_token=1,c") == f"a-b--my_token={MASK},c"
