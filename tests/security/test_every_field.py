"""What stands in any field of a run's files is text on every screen and in every export; of a secret only the mask."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pseudo_terminal import on_terminal

from trainctl.config import yaml
from trainctl.config.changelog import Changelog, Edit, dumps
from trainctl.config.masking import MASK
from trainctl.examine import Examiner
from trainctl.examine.writing import FORMS, write
from trainctl.panel.data.watcher import Watcher
from trainctl.panel.widgets.results import results_of
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir

TRAINCTL = [sys.executable, "-c", "from trainctl.cli import main; main()"]
PAYLOADS = {
    "tag": "<img src=x onerror='window.pwned=1'>",
    "attribute": "x\"><svg onload='window.pwned=2'></svg><b class=\"",
    "url": "javascript:alert(1)",
    "ansi": "\x1b]0;pwned\x07\x1b[8mhidden\x1b[2J\x1b]8;;http://pwned\x1b\\\x9b31m\u202etxt\r\npwned",
    "formula": '=HYPERLINK("http://pwned")',
    "latex": r"\input{/etc/passwd} $x$ a_b 50% & # ~ ^",
    "markdown": "[x](javascript:1) ![i](http://pwned) `a` | b *c* <b>",
}
FIELDS = ("slot", "host", "reason", "signal", "started", "ended", "attempt", "pid", "exit_code", "boot_id")
SECRETS = ("sk-first-1234567", "sk-second-7654321", "hush-hush-quiet", "pass word 333")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
OF_RICH = re.compile(r"\x1b\[[0-9;]*m|\r\n")


def hostile(root: Path, name: str, payload: str, state: str, result: Any) -> RunDir:
    """Write a run that has a payload in every field of every file."""
    run = RunDir.at(root / name)
    run.create()
    command = {"state": payload, "signal": payload, "started": payload}
    status = {**dict.fromkeys(FIELDS, payload), "commands": {payload: command, "train": command}, "state": state}
    run.status.write_text(yaml.dumps(status))
    record = {"name": payload, "overrides": [f"norm={payload}", payload], "argv": [payload], "cwd": payload}
    record |= {
        "git": {"sha": payload, payload: payload},
        "parent": payload,
        "actions": {payload: {"choices": [payload]}},
    }
    record |= {"seed": payload, "identity": payload, "python": payload, "keys": {payload: {"kind": payload}}}
    run.run.write_text(yaml.dumps(record))
    run.progress.write_text(yaml.dumps({"step": payload, "total": payload, "rate": payload, "paused": payload}))
    run.result.write_text(yaml.dumps({"value": result}))
    run.metrics.write_text(json.dumps({"step": 1, payload: 0.5, "loss": 0.5, "note": payload}) + "\n")
    event = {"id": payload, "state": "rejected", "edits": {payload: payload}, "who": payload, "via": payload, "t": 1.0}
    done = {**event, "id": "b", "state": "applied", "action": payload, "arguments": {payload: payload}, "step": 2}
    files.append_lines(run.events, [{**event, "note": payload, "reason": payload}, {**event, "step": payload}, done])
    edit = Edit(3, {"norm": payload + "2"}, who="me", via="cli", note=payload.partition("\r")[0])
    run.changelog.write_text(dumps(Changelog({"norm": payload, payload: payload, "lr": 0.1}, [edit])))
    run.log.write_text(f"Traceback (most recent call last):\n  {payload}\nValueError: {payload}\n")
    run.config.parent.mkdir()
    run.config.write_text(yaml.dumps({"norm": payload, payload: payload}))
    return run


@pytest.fixture
def team(tmp_path: Path) -> Path:
    root = tmp_path / "team"
    for name, payload in PAYLOADS.items():
        hostile(root, f"{name}-done", payload, "done", {payload: payload})
        hostile(root, f"{name}-failed", payload, "failed", payload)
        hostile(root, f"{name}-state", payload, payload, 1.0)
    return root


def said_by(*words: str, cwd: Path, code: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(
        [*TRAINCTL, *words], cwd=cwd, capture_output=True, timeout=120, check=False,
        env={**os.environ, "COLUMNS": "300"},
    )  # fmt: skip
    assert done.returncode in code, done
    return (done.stdout + done.stderr).decode()


@pytest.mark.slow
def test_no_command_writes_a_control_character_of_a_run(team: Path) -> None:
    run = str(team / "ansi-failed")
    commands = [["ls", str(team)], ["table", str(team)], ["table", "--by", "norm", str(team)]]
    commands += [[word, run] for word in ("show", "log", "explain", "tail")] + [["diff", run, str(team / "tag-done")]]
    commands += [["show", str(team / "ansi-done")], ["show", str(team / "ansi-state")]]
    for words in commands:
        said = on_terminal([*TRAINCTL, *words], team, columns=200)
        assert not CONTROL.search(OF_RICH.sub("", said)), (words, CONTROL.findall(OF_RICH.sub("", said)))
        assert "\x1b[8m" not in said, words
        assert "hidden" in said, words  # the text itself is shown
        if words[0] == "tail":
            continue  # piped, the bytes as they are
        said = said_by(*words, cwd=team)
        assert not CONTROL.search(said.replace("\r\n", "\n")), (words, CONTROL.findall(said))
    for words in (["ls", "--json", str(team)], ["table", "--json", str(team)], ["show", "--json", run]):
        said = said_by(*words, cwd=team)
        assert said.isascii()
        json.loads(said)
    said = said_by("log", str(team / "none\x1b[8m"), cwd=team, code=(1,))
    assert "\x1b" not in said


def test_no_export_has_a_formula_a_command_or_a_link(team: Path) -> None:
    examiner = Examiner().exam(team, workers=1)
    assert len(examiner.rows) == 3 * len(PAYLOADS)
    columns = [name for row in examiner.rows.values() for name in (*row.results(), *row.metrics)]
    table = examiner.table(by="norm", metrics=list(dict.fromkeys(columns)))
    texts = {form: write(table, form) for form in FORMS}
    assert PAYLOADS["formula"] in texts["csv"].replace('""', '"')
    for mark, form in ((",", "csv"), ("\t", "tsv")):
        for line in csv.reader(io.StringIO(texts[form]), delimiter=mark):
            assert not [cell for cell in line if cell.lstrip().startswith(("=", "@", "+", "-")) and not _number(cell)]
    assert {cell for row in json.loads(texts["json"])["rows"] for cell in row.values()} >= {PAYLOADS["tag"]}
    latex = texts["latex"].replace(r"\textbackslash{}", "")
    body = [line for line in latex.splitlines() if not line.startswith((r"\begin", r"\end", "%"))]
    assert r"\input" not in "\n".join(body)
    assert not re.search(r"(?<!\\)[$#_%](?!\\pm)", "\n".join(body).replace(r"$\pm$", ""))
    markdown = texts["md"]
    assert not re.search(r"(?<!\\)(?:\]\(|<(?=\w)|`)", markdown), markdown
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in rows}) == 1


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.fixture
def secret(tmp_path: Path) -> RunDir:
    """A run that has secrets in its config and edits, and repeats them wherever a text may stand."""
    run = RunDir.at(tmp_path / "runs" / "one")
    run.create()
    first, second, third, fourth = SECRETS
    config = {"lr": 0.1, "api": {"token": first}, "quiet": third, "login": {"password": fourth}, "told": f"by {first}"}
    config["trainctl"] = {"hidden": ["quiet"]}
    edit = Edit(3, {"api.token": second, "lr": 0.2}, who="me", via="cli", note=f"now {second}")
    run.changelog.write_text(dumps(Changelog(config, [edit])))
    leak = f"ValueError: {first} and {second} and {third} and {fourth}"
    run.status.write_text(yaml.dumps({"state": "failed", "attempt": 1, "exit_code": 1, "reason": leak}))
    overrides = [f"api.token={first}", f"quiet={third}", "lr=0.1", f"+login.password='{fourth}'"]
    files.write_yaml(run.run, {"name": "one", "overrides": overrides, "argv": ["app.py", *overrides], "cwd": leak})
    files.write_yaml(run.result, {"value": {"token": first, "best": leak, "loss": 0.5}})
    event = {"id": "a", "state": "rejected", "edits": {"api.token": second}, "note": leak, "reason": leak, "t": 1.0}
    files.append_lines(run.events, [event])
    files.append_lines(run.metrics, [{"step": 3, "loss": 0.5}])
    run.log.write_text(f"Traceback (most recent call last):\n  login({first!r})\n{leak}\n")
    run.config.parent.mkdir()
    run.config.write_text(yaml.dumps({key: value for key, value in config.items() if key != "trainctl"}))
    return run


@pytest.mark.slow
@pytest.mark.parametrize("has_changelog", [True, pytest.param(False, marks=pytest.mark.long)])
def test_no_secret_is_in_a_row_a_table_an_export_or_a_command(secret: RunDir, has_changelog: bool) -> None:
    root = secret.path.parent
    other = RunDir.at(root / "two")
    other.create()
    other.changelog.write_text(dumps(Changelog({"lr": 0.3, "api": {"token": "sk-third-99999999"}}, [])))
    other.status.write_text("state: done\n")
    secrets = [*SECRETS, "sk-third-99999999"]
    if not has_changelog:
        secret.changelog.unlink()
        text = "hydra:\n  run: {{}}\n  trainctl:\n    hidden: [quiet]\n  verbose: false\n"
        (secret.config.parent / "hydra.yaml").write_text(text)
        secrets.remove(SECRETS[1])  # it was given by an edit, and nothing says of which key
    one = str(secret.path)
    commands = [["ls", str(root)], ["ls", "--json", str(root)], ["table", str(root)], ["table", "--json", str(root)]]
    commands += [["table", "--by", "api.token", "--format", form, str(root)] for form in ("csv", "md", "latex", "json")]
    commands += [["show", one], ["show", "--json", one], ["explain", one], ["explain", "--json", one]]
    commands += [["log", one], ["log", "--json", one]] if has_changelog else []
    commands += [["tail", one]]
    commands += [["diff", one, str(other.path)], ["diff", "--json", one, str(other.path)]] if has_changelog else []
    for words in commands:
        said = said_by(*words, cwd=root, code=(0, 1))
        assert [each for each in secrets if each in said] == [], (words, said)
        assert words[0] == "explain" or MASK in said or json.dumps(MASK)[1:-1] in said or "table" in words, words
    watcher = Watcher(root)
    for row in watcher.rows().values():
        told = [*row.summary.overrides, str(row.summary.why), str(row.summary.result)]
        assert [each for each in secrets if each in " ".join(told)] == []
    told_results = repr(results_of(watcher.rows()))
    assert [each for each in secrets if each in told_results] == []
    examiner = Examiner().exam(root, workers=1)
    for found in examiner.rows.values():
        assert [each for each in secrets if each in repr((found.start, found.end, found.overrides, found.why))] == []
