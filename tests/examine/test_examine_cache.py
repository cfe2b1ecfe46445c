"""What was read is not read again, and never believed once a file has changed."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from examined import make

from trainctl.config import yaml
from trainctl.examine import cache, work
from trainctl.examine.examiner import Examiner
from trainctl.examine.row import Row, read_row
from trainctl.run.lock import RunLock
from trainctl.run.rundir import RunDir
from trainctl.run.status import Status, write_status


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs that were read."""
    found: list[str] = []

    def read(run: RunDir) -> Row:
        found.append(run.name)
        return read_row(run)

    monkeypatch.setattr(work, "read_row", read)
    return found


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were written just now are old enough."""
    monkeypatch.setattr(cache, "_TICK_NS", -(10**12))


@pytest.mark.usefixtures("trusting")
def test_what_has_not_changed_is_not_read_again(tmp_path: Path, reads: list[str]) -> None:
    for name in ("a", "b"):
        make(
            tmp_path / name, {"lr": 0.1, "text": "${x}", "list": [1, {"a": None}]}, result=0.5, metrics=[{"loss": 0.1}]
        )
    first = Examiner().exam(tmp_path)
    second = Examiner().exam(tmp_path)
    assert reads == ["a", "b"]
    assert second.rows == first.rows
    with (tmp_path / "b" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "loss": 0.05}\n')
    third = Examiner().exam(tmp_path)
    assert reads == ["a", "b", "b"]
    assert third.named()["b"].metrics["loss"].last == 0.05
    make(tmp_path / "c", {"lr": 0.1})
    assert list(Examiner().exam(tmp_path).named()) == ["a", "b", "c"]


def test_a_file_rewritten_within_a_tick_of_the_clock_is_seen(tmp_path: Path) -> None:
    run = make(tmp_path / "a", {"lr": 0.1}, result=0, metrics=[{"loss": 0}])
    for number in range(10):  # the same size, the same inode, and often the same time of change
        with run.result.open("r+") as file:
            file.write(f"value: {number}\n")
        assert Examiner().exam(tmp_path).named()["a"].result == number


@pytest.mark.usefixtures("trusting")
def test_whatever_is_done_to_a_file_is_seen(tmp_path: Path) -> None:
    run = make(tmp_path / "a", {"lr": 0.1}, result=0)
    random_numbers = random.Random(4)
    for number in range(1, 30):
        before = run.result.stat()
        text = f"value: {number:03}\n".replace(" 00", "   ").replace(" 0", "  ")
        way = random_numbers.choice(["replace", "rewrite", "touch back"])
        if way == "replace":
            (tmp_path / "new").write_text(text)
            (tmp_path / "new").replace(run.result)
        else:
            while run.result.read_text() != text or run.result.stat().st_ctime_ns == before.st_ctime_ns:
                run.result.write_text(text)
        if way == "touch back":
            os.utime(run.result, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert Examiner().exam(tmp_path).named()["a"].result == number, way


@pytest.mark.usefixtures("trusting")
def test_a_killed_run_is_seen_although_no_file_changes(tmp_path: Path) -> None:
    run = make(tmp_path / "a", {"lr": 0.1}, state="running")
    lock = RunLock(run.lock)
    assert lock.acquire()
    assert Examiner().exam(tmp_path).named()["a"].state == "running"
    lock.release()
    assert Examiner().exam(tmp_path).named()["a"].state == "interrupted"
    write_status(run, Status("done", started=1000.0, ended=1060.0))
    assert Examiner().exam(tmp_path).named()["a"].state == "done"


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("damage", ["", "{", "[]", '{"version": 1, "rows": {"%s": [[], {}]}}'])
def test_a_damaged_cache_is_read_past(tmp_path: Path, damage: str, reads: list[str]) -> None:
    run = make(tmp_path / "a", {"lr": 0.1}, result=0.5)
    Examiner().exam(tmp_path)
    file = tmp_path / ".trainctl" / "examined.json"
    assert list(json.loads(file.read_text())["rows"]) == [str(run.path)]
    file.write_text(damage.replace("%s", str(run.path)))
    assert Examiner().exam(tmp_path).named()["a"].result == 0.5
    assert reads == ["a", "a"]


@pytest.mark.usefixtures("trusting")
def test_values_that_json_would_change_are_read_each_time(tmp_path: Path, reads: list[str]) -> None:
    run = make(tmp_path / "a", {"table": [{1: "one"}]}, result=0.5)
    for _ in range(2):
        assert Examiner().exam(tmp_path).named()["a"].start == {"table": [{1: "one"}]}
    assert reads == ["a", "a"]
    assert yaml.loads(run.changelog.read_text())[0] == {"table": [{1: "one"}]}


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_directory_that_cannot_be_written_is_read_without_a_cache(tmp_path: Path) -> None:
    make(tmp_path / "a", {"lr": 0.1}, result=0.5)
    tmp_path.chmod(0o500)
    try:
        assert Examiner().exam(tmp_path).named()["a"].result == 0.5
    finally:
        tmp_path.chmod(0o700)
