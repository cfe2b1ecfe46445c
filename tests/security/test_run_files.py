"""Whatever lies in a run dir: each command shows the good runs as they are, and why a broken one cannot be read."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from broken_runs import GOOD, make_broken_runs, make_run

from trainctl.rundir.paths import RunDir, find_runs

READING = Path(__file__).with_name("reading_runs.py")
PATIENCE_S = 400.0  # of all commands together, on a busy machine
MOST_S = 2.0  # of one, of a processor; one that hangs is interrupted, and has not ended with 0 or 1
MOST_BYTES = 200 * 2**20  # that memory grows by, with all commands one after the other
OTHER_UID = 65534

# `ru_maxrss` is not asked: a process that was just started has inherited its parent's (Linux, `setmax_mm_hiwater_rss`).
MEASURED = """
import atexit, pathlib, re, resource, sys
def tell():
    spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text()).group(1)
    print(spent, peak, file=sys.stderr)
atexit.register(tell)
"""
REASONS = {
    "fifo": "not a regular file",
    "socket": "not a regular file",
    "folder": "not a regular file",
    "zero": "it is a link, which is not followed",
    "nowhere": "it is a link, which is not followed",
    "huge": r"it is longer than \d+ MiB",
}
WHY = {
    "status.yaml:null": r"status\.yaml: state null is not a state",
    "status.yaml:three": r"status\.yaml: state 3 is not a state",
    "status.yaml:bomb": r"status\.yaml: it has a YAML alias",
    "status.yaml:no-text": r"status\.yaml: it is not YAML \(it is not UTF-8 text\)",
    "status.yaml:odd": r"pid 'x' is not a whole number; status\.yaml: started .* is not a time",
    "result.yaml:bool-tag": r"result\.yaml: it is not YAML",
    "result.yaml:digits": r"result\.yaml: it is not YAML \(found a whole number of more than 1000 digits",
    "result.yaml:large": r"result\.yaml: it is longer than 1 MiB",
    "run.yaml:list": r"run\.yaml: it holds no mapping",
    "progress.yaml:text": r"progress\.yaml: step 'many' is not a whole number",
    "metrics.jsonl:deep": r"metrics\.jsonl: none of its lines is a record",
    "metrics.jsonl:text": r"metrics\.jsonl: step 'many' is not a whole number",
    "metrics.jsonl:huge": r"metrics\.jsonl: none of its lines is a record",
    "changelog.yaml:words": r"changelog\.yaml is not a changelog: 'five' is not a step",
    "changelog.yaml:bomb": r"changelog\.yaml is not a changelog: its YAML aliases make it larger than",
    "changelog.yaml:deep": r"changelog\.yaml is not a changelog: it is nested more than 100 deep",
    "events.jsonl:none": r"events\.jsonl: 3 lines are not answers",
    "events.jsonl:text": r"events\.jsonl: a line is not an answer",
    "events.jsonl:huge": r"events\.jsonl: a line is not an answer",
    "events.jsonl:fifo": r"events\.jsonl: not a regular file",
}


def read_by_all(root: Path, *options: str) -> dict[tuple[str, ...], dict[str, Any]]:
    """Call all commands on a directory; return what each said, by its words without the directory."""
    done = subprocess.run(
        [sys.executable, str(READING), str(root), *options],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return {tuple(word.replace(f"{root}/", "") for word in one["asked"] if word != str(root)): one for one in answers}


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A directory that other users may enter: those of pytest are its user's own."""
    path = Path(tempfile.mkdtemp(prefix="trainctl-test-"))
    path.chmod(0o755)
    yield path
    for folder, _, _ in os.walk(path):
        os.chmod(folder, 0o700)
    shutil.rmtree(path)


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S + 60)
def test_every_command_shows_the_good_runs_and_says_what_is_wrong_with_the_broken(tmp_path: Path) -> None:
    broken = make_broken_runs(tmp_path)
    assert len(broken) >= 200
    names = {*GOOD, *broken}
    said = read_by_all(tmp_path)
    for words, one in said.items():
        assert one["code"] in (0, 1), (words, one)
        assert one["seconds"] < MOST_S, words
        assert "Traceback" not in one.get("err", ""), (words, one["err"])
    assert not (tmp_path / "pwned").exists()

    for listed in (said["ls", "--json"], said["table", "--json"]):
        rows = {row["path"].rpartition("/")[2]: row for row in json.loads(listed["out"])}
        assert set(rows) == names
        for number, name in enumerate(GOOD):
            row = rows[name]
            assert (row["state"], row["step"], row["result"]) == ("done", 5, pytest.approx(0.2 * (number + 1)))
            assert (row["problems"], row["metrics"], row["edits"]) == ([], {"loss": 0.2}, 1)
    page = said["page",]
    assert set(page["rows"]) == names
    for name in GOOD:
        assert page["rows"][name] == ["done", None, 5]
        assert page["views"][name] == ["this run takes no edits", 1, ["loss"]]
        assert f"log of {name}" in said["tail", name]["out"]
        assert re.search(r"3 .* me +cli +lr: 0\.\d+ -> 0\.5", said["log", name]["out"])
    assert re.search(r"lr +0\.5 +0\.5|no value differs", said["diff", "good-0", "good-1"]["out"])
    check_reasons(rows, page, said)
    check_sources(said)
    assert said["memory",]["grown"] < MOST_BYTES


def check_reasons(rows: dict[str, Any], page: dict[str, Any], said: dict[tuple[str, ...], dict[str, Any]]) -> None:
    for name, row in rows.items():
        file, _, fault = name.partition(":")
        why = "; ".join(row["problems"])
        if fault in REASONS and file in ("status.yaml", "run.yaml", "result.yaml", "progress.yaml", "changelog.yaml"):
            assert re.search(rf"{re.escape(file)}: {REASONS[fault]}", why), name
            assert why in " ".join(said["table",]["out"].split()) or len(why) > 100, name
        assert name not in WHY or re.search(WHY[name], why), (name, why)
        is_known = not name.startswith(("status.yaml", "all:")) or name == "status.yaml:odd"
        assert row["state"] == ("done" if is_known else "unreadable"), name
        assert page["rows"][name][:2] == [row["state"], why or None]
        if why:
            assert row["state"] in said["show", name]["out"], name
    for fault, why in REASONS.items():
        assert said["log", f"changelog.yaml:{fault}"]["code"] == 1
        assert re.search(f"changelog.yaml: {why}", said["log", f"changelog.yaml:{fault}"]["err"])
        assert re.search(f"changelog.yaml: {why}", page["views"][f"changelog.yaml:{fault}"][0])
        if fault != "huge":
            assert re.search(f"events.jsonl: {why}", said["log", f"events.jsonl:{fault}"]["err"])
            assert re.search(f"job.log: {why}", said["tail", f"job.log:{fault}"]["err"])
    assert re.search("not a changelog: its YAML aliases make it larger", said["log", "changelog.yaml:bomb"]["err"])


def check_sources(said: dict[tuple[str, ...], dict[str, Any]]) -> None:
    """A run that cannot be read is not a source of a config, and is neither replayed nor sent; the reason is said."""
    for name in GOOD:
        assert said["+from", name]["out"] == {"lr": 0.5, "norm": "new"}
        assert said["replay", name]["out"] == [[{"lr": 0.5}], 0]
        assert re.search(r"lr +0\.5 +edit at step 3 by me, cli", said["explain", name]["out"])
        assert "5 records, 1 edits" in said["sync", "--to", "tensorboard", name]["out"]
    assert said["verify", "good-0"]["out"] is None
    for fault, why in REASONS.items():
        name = f"changelog.yaml:{fault}"
        for command in ("+from", "replay", "verify", "explain"):
            assert said[command, name]["code"] == 1
            assert re.search(why, said[command, name]["err"]), said[command, name]
        assert re.search(why, said["sync", "--to", "tensorboard", name]["err"])
        for command, file, reason in (
            ("+from", "hydra-config.yaml", why),
            ("explain", "hydra-config.yaml", why),
            ("explain", "hydra-hydra.yaml", why),
            ("verify", "metrics.jsonl", "line is longer than 16 MiB" if fault == "huge" else why),
            ("replay", "events.jsonl", "line is longer than 16 MiB" if fault == "huge" else why),
        ):
            assert re.search(reason, said[command, f"{file}:{fault}"]["err"]), (command, file, fault)
    for name, why in WHY.items():
        if name.startswith("changelog.yaml:"):
            assert re.search(why.partition(": ")[2], said["replay", name]["err"]), name
            assert re.search(why.partition(": ")[2], said["+from", name]["err"]), name
    assert "events.jsonl: 3 lines are not answers" in said["log", "events.jsonl:none"]["err"]


@pytest.mark.timeout(PATIENCE_S + 60)
def test_what_another_user_keeps_is_a_row_or_passed_over(open_dir: Path) -> None:
    is_root = os.geteuid() == 0
    sweep = open_dir / "sweep"
    for name in ("good-0", "closed", "theirs"):
        run = make_run(sweep, name, 0.1)
        for path in (run.path, *run.path.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)
    make_run(open_dir / "private", "inside", 0.1)
    (open_dir / "lost+found").mkdir()
    make_run(sweep, "listed", 0.1).path.chmod(0o744 if is_root else 0o400)  # its names, not what they are
    for path in (sweep / "closed").iterdir():
        path.chmod(0o000 if not path.is_dir() else 0o700)
    for path in (sweep / "theirs", open_dir / "private", open_dir / "lost+found"):
        path.chmod(0o700 if is_root else 0o000)
    sweep.chmod(0o755)

    options = ("--as", str(OTHER_UID)) if is_root else ()
    said = read_by_all(sweep, *options)
    rows = said["page",]["rows"]
    assert rows["good-0"] == ["done", None, 5]
    assert rows["theirs"] == rows["listed"] == ["unreadable", "not readable: Permission denied", None]
    assert rows["closed"][0] == "unreadable"
    assert rows["closed"][1].startswith("status.yaml: not readable: Permission denied; run.yaml: not readable: ")
    listed = said["ls",]["out"]
    assert re.search(r"unreadable\ttheirs\t.*not readable: Permission denied", listed)
    assert re.search(r"done\tgood-0\t", listed)
    assert re.search(r"theirs\s.*not readable: Permission denied", said["table",]["out"])
    assert "unreadable: not readable: Permission denied" in said["show", "theirs"]["out"]
    for words, one in said.items():
        assert one["code"] in (0, 1), (words, one)
        assert "Traceback" not in one.get("err", ""), (words, one["err"])

    above = read_by_all(open_dir, *options)
    assert set(above["page",]["rows"]) == {"sweep/good-0", "sweep/closed", "sweep/theirs", "sweep/listed"}
    assert above["page",]["passed_over"] == [str(open_dir / "private")]
    for words in (("ls",), ("ls", "--json"), ("table",), ("table", "--json")):
        assert f"passed over 1 directory ({open_dir}/private) that may not be read" in above[words]["err"]


def test_a_directory_with_any_file_of_a_run_is_one(tmp_path: Path) -> None:
    for name in ("status.yaml", "run.yaml", "changelog.yaml"):
        (tmp_path / name).mkdir()
        os.mkfifo(tmp_path / name / name)
    (tmp_path / "plain").mkdir()
    assert find_runs(tmp_path) == [RunDir.at(tmp_path)]
    assert find_runs(tmp_path / "plain") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "last"),
    [((), 199), (("--by", "lr"), 199), (("--format", "csv"), 1999), (("--metric", "result.k59999"), 59_999)],
)
def test_table_of_a_result_with_very_many_values_has_the_first_of_them(
    tmp_path: Path, options: tuple[str, ...], last: int
) -> None:
    for name in ("many", "more"):
        run = make_run(tmp_path, name, 0.1)
        run.result.write_text("value: {" + ", ".join(f"k{number}: 1" for number in range(60_000)) + "}\n")
    said = subprocess.run(
        [sys.executable, "-c", f"{MEASURED}from trainctl.cli import main; main()", "table", str(tmp_path), *options],
        capture_output=True, text=True, timeout=PATIENCE_S, check=True,
    )  # fmt: skip
    assert f"result.k{last}" in said.stdout
    assert f"result.k{last + 1}" not in said.stdout
    is_told = f"such as result.k{last + 1}; name what you want by --metric" in said.stderr
    assert is_told == (options[:1] in (("--by",), ("--format",)))
    seconds, kibibytes = map(float, said.stderr.splitlines()[-1].split())
    assert seconds < 60.0  # 2 s on a quiet machine, an hour where each column copies all names
    assert kibibytes < 400 * 2**10
