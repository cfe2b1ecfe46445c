"""Secrets: masked in everything that a page is made of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from broken_runs import make_run

from trainctl.config.changelog import Changelog, Edit, dumps
from trainctl.config.controls import Key
from trainctl.config.masking import MASK, Masking
from trainctl.panel.data.run_view import RunRow, RunView, read_view
from trainctl.panel.widgets.files import beginning, files_of
from trainctl.panel.widgets.log import read_end
from trainctl.rundir import files
from trainctl.rundir.events import read_events
from trainctl.rundir.paths import RunDir
from trainctl.rundir.summary import MOST_CHECKED, summarize

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
    files.append_lines(run.events, [{**event, "reason": f"{SECRETS[1]} is not a key"}])
    run.log.write_text(f"logged in with {SECRETS[0]}\nKeyError: 'x'\n--api_key=another-one lr=1\n")
    (run.path / "other.json").write_text(json.dumps({"token": "a-third", "lr": 1}))
    return run


def view_of(run: RunDir) -> RunView:
    return read_view(RunRow.of(run), read_events(run))


@pytest.mark.parametrize(
    "key",
    [
        "token", "hf_token", "hub.token", "auth-token", "accessToken", "HF_TOKEN", "api_key", "wandb.api_key", "apiKey",
        "api.key", "openai_api_key", "aws_access_key", "password", "db.password_file", "db_passwd", "client_secret",
        "secrets.wandb", "aws.secret_access_key", "my_credentials.user",
    ],
)  # fmt: skip
def test_text_of_a_credential_is_hidden(key: str) -> None:
    assert Masking({}).value(key, "abc") == MASK
    assert Masking({}).value(key, ["abc", "def"]) == MASK
    assert Masking({}).text(f"--{key}=abc") == f"--{key}={MASK}"
    assert Masking({}).value(key, 512) == 512
    assert Masking({}).text(f"{key}=512") == f"{key}=512"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_tokens", 512), ("max_tokens", "all"), ("tokenizer_name", "gpt2"), ("tokenizer.name", "gpt2"),
        ("num_key_value_heads", 8), ("keypoints", "coco"), ("keypoints", [1, 2]), ("sort_key", "name"), ("key", "C"),
        ("monkey", "x"), ("tokens_per_batch", "4k"), ("eos_token", "</s>"), ("tokenizer.pad_token", "<pad>"),
        ("primary_key", "user_id"), ("keys", ["image", "label"]), ("model.key_dim", "64"), ("num_tokens", 3),
    ],
)  # fmt: skip
def test_what_is_no_credential_is_shown(key: str, value: object) -> None:
    config: dict[str, object] = {key: value, "told": f"uses {value}"}
    masking = Masking(config)
    assert masking.nested(config) == config
    assert masking.text(f"{key}={value}") == f"{key}={value}"


def test_random_text_of_any_key_is_hidden() -> None:
    assert Masking({}).value("wandb_key", "0123456789abcdef0123456789abcdef01234567") == MASK
    assert Masking({}).value("openai.key", "sk-proj-0123456789abcdefghij") == MASK


def test_given_pattern_hides_numbers_too() -> None:
    config = {"pin": 123456, "told": "uses 123456", "max_tokens": 512}
    assert Masking(config, ["pin"]).nested(config) == {"pin": MASK, "told": f"uses {MASK}", "max_tokens": 512}


def test_view_holds_no_secret(run: RunDir) -> None:
    view = view_of(run)
    told = str((view.values, view.changelog, view.events))
    assert [secret for secret in SECRETS if secret in told] == []
    assert view.values["api.KEY"] == MASK
    assert view.values["told"] == f"uses {MASK}"
    assert (view.values["lr"], view.values["max_tokens"]) == (0.2, 512)
    assert "secret" in str(view.keys["quiet"].locked)
    assert view.keys["lr"].locked is None


@pytest.mark.parametrize("steps", [2, 3000], ids=["parsed", "too-long-to-be-parsed"])
@pytest.mark.parametrize(
    "edit", [{"api.KEY": "edited-secret"}, {"api": {"KEY": "edited-secret"}}], ids=["key", "section"]
)
def test_secret_that_an_edit_brought_is_hidden_in_rows(tmp_path: Path, steps: int, edit: dict[str, Any]) -> None:
    run = make_run(tmp_path, "edited", 0.1)
    files.write_yaml(run.result, {"value": "uses edited-secret"})
    edits = [
        Edit(step, {"lr": 0.1 + step}, who="me", via="cli", note="a note of some words") for step in range(1, steps)
    ]
    run.changelog.write_text(dumps(Changelog({"lr": 0.1, "api": {"KEY": None}}, [*edits, Edit(steps, edit)])))
    assert (run.changelog.stat().st_size > MOST_CHECKED) == (steps == 3000)
    row = summarize(run)
    assert row.edits == steps
    assert row.result == f"uses {MASK}"
    assert row.masking.text("edited-secret") == MASK


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
    assert Masking({}).text("a-b--my_token=x,c") == f"a-b--my_token={MASK},c"


PROGRAM = """
import hydra

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    if cfg.dies:
        print(f"login with {cfg.api.token} and {cfg.quiet} and {cfg.home}", flush=True)
        __import__("os")._exit(3)
    raise ValueError(f"{cfg.api.token} and {cfg.quiet} are refused for {cfg.home}")

if __name__ == "__main__":
    main()
"""
CONFIG = """
defaults: [trainctl, _self_]
api: {token: sk-of-the-file-1, user: me}
quiet: hush-hush-quiet
home: ${oc.env:HOME_TOKEN,none}
given_token: ${oc.env:HOME_TOKEN,none}
lost_token: ???
dies: false
trainctl: {hidden: [quiet], panel: {enabled: false}}
"""
KNOWN = ("sk-of-the-file-1", "sk-swept-12345", "hush-hush-quiet", "of-the-environment-9")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text(CONFIG)
    (tmp_path / "app.py").write_text(PROGRAM)
    return tmp_path


def said_in(place: Path, *command: str) -> str:
    environment = {**os.environ, "HOME_TOKEN": KNOWN[3], "COLUMNS": "300"}
    done = subprocess.run(
        [sys.executable, *command], cwd=place, capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("dies", [False, True])
def test_lines_of_the_launcher_and_names_of_runs_hold_no_secret(program: Path, dies: bool) -> None:
    sweep = ["-m", "api.token=sk-swept-12345,sk-of-the-file-1", f"dies={dies}", "lost_token=x", "hydra.sweep.dir=s"]
    said = said_in(program, "app.py", *sweep)
    lines = [line for line in said.splitlines() if line.startswith(("START", "FAIL", "      "))]
    if dies:
        assert sum("login with ••• and ••• and •••" in line for line in lines) == 2, said
    else:
        assert sum("ValueError: ••• and ••• are refused for •••" in line for line in lines) >= 2, said
    ours = said.partition("2 jobs: 2 failed")[0]  # what follows is Hydra's own traceback
    assert [secret for secret in KNOWN if secret in ours] == []
    names = sorted(path.name for path in (program / "s").iterdir() if path.name.startswith("Api"))
    assert [name.rpartition("-")[0] for name in names] == ["ApiToken"] * 2


def test_job_without_a_run_dir_tells_no_secret_of_its_overrides(program: Path) -> None:
    (program / "s").mkdir()
    (program / "s" / "0").touch()
    sweep = ["-m", "api.token=sk-swept-12345", "quiet=hush-hush-quiet", "lost_token=x", "hydra.sweep.dir=s"]
    said = said_in(program, "app.py", *sweep, "hydra.sweep.subdir=0", "+nowhere/sk-swept-12345=hush-hush-quiet")
    assert "FAIL" in said
    line = next(line for line in said.splitlines() if line.startswith("FAIL"))
    assert [secret for secret in KNOWN if secret in line] == []


CLI = ("-c", "from trainctl.cli import main; main()")


@pytest.mark.parametrize(
    "command",
    [
        (*CLI, "explain", "--app", "app.py", "api.token=sk-swept-12345"),
        (*CLI, "explain", "--app", "app.py", "--json", "api.token=sk-swept-12345"),
        (*CLI, "config", "--app", "app.py", "api.token=sk-swept-12345"),
        (*CLI, "config", "--app", "app.py", "--resolve", "api.token=sk-swept-12345", "lost_token=x"),
        ("app.py", "trainctl.explain=true", "api.token=sk-swept-12345"),
    ],
)
def test_config_of_a_program_is_shown_without_its_secrets(program: Path, command: tuple[str, ...]) -> None:
    said = said_in(program, *command)
    assert [secret for secret in KNOWN if secret in said] == []
    assert MASK in said or json.dumps(MASK)[1:-1] in said
    assert "user" in said
    if command[1:2] == (CLI[1],) and command[2] == "config" and "--resolve" not in command:
        assert "lost_token: ???" in said
        assert "given_token: ${oc.env:HOME_TOKEN" not in said or "none" not in said
        assert "missing: lost_token" in said
