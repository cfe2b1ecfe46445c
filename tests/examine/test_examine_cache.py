"""What was read is not read again, and never believed once a file has changed."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from examined import make

from trainctl.config import yaml
from trainctl.examine import cache, work
from trainctl.examine.examiner import Examiner
from trainctl.examine.row import Row, read_row
from trainctl.rundir import files
from trainctl.rundir.lock import RunLock
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, write_status


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
@pytest.mark.parametrize("damage", ["", "{", "[]", '{"by": "%v", "rows": {"%s": [[], {}]}}'])
def test_a_damaged_cache_is_read_past(tmp_path: Path, damage: str, reads: list[str]) -> None:
    run = make(tmp_path / "a", {"lr": 0.1}, result=0.5)
    Examiner().exam(tmp_path)
    file = tmp_path / ".trainctl" / "examined.json"
    assert list(json.loads(file.read_text())["rows"]) == [str(run.path)]
    file.write_text(damage.replace("%s", str(run.path)).replace("%v", cache.readers()))
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


@pytest.mark.usefixtures("trusting")
def test_runs_that_change_places_are_read_anew(tmp_path: Path) -> None:
    root = tmp_path / "one"
    for at, name in enumerate("ab"):
        make(root / name, {"lr": 0.1}, result=at)
    Examiner().exam(root)
    (root / "a").rename(root / "c")
    (root / "b").rename(root / "a")
    (root / "c").rename(root / "b")
    assert [row.result for row in Examiner().exam(root).named().values()] == [1, 0]
    shutil.copytree(root, tmp_path / "two")
    (tmp_path / "two" / "a" / "result.yaml").write_text("value: 5\n")
    assert [row.result for row in Examiner().exam(tmp_path / "two").named().values()] == [5, 0]
    shutil.rmtree(root / "a")
    make(root / "d", {"lr": 0.1}, result=7)
    assert [row.result for row in Examiner().exam(root).named().values()] == [0, 7]
    assert [Path(path).name for path in json.loads((root / ".trainctl" / "examined.json").read_text())["rows"]] == [
        "b", "d",
    ]  # fmt: skip


def test_metrics_that_come_while_it_reads_are_seen_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_TICK_NS", -(10**12))
    run = make(tmp_path / "a", {"lr": 0.1}, result=1, metrics=[{"loss": 1.0}])

    def read(one: RunDir) -> Row:
        row = read_row(one)
        with run.metrics.open("a") as file:
            file.write('{"step": 2, "loss": 0.5}\n')
        return row

    monkeypatch.setattr(work, "read_row", read)
    assert Examiner().exam(tmp_path).named()["a"].metrics["loss"].last == 1.0
    monkeypatch.setattr(work, "read_row", read_row)
    assert Examiner().exam(tmp_path).named()["a"].metrics["loss"].last == 0.5


@pytest.mark.usefixtures("trusting")
def test_a_full_disk_costs_the_cache_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]) -> None:
    make(tmp_path / "a", {"lr": 0.1}, result=0.5)

    def full(descriptor: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_all", full)
        assert Examiner().exam(tmp_path).named()["a"].result == 0.5
    assert list((tmp_path / ".trainctl").iterdir()) == []
    for _ in range(2):
        assert Examiner().exam(tmp_path).named()["a"].result == 0.5
    assert reads == ["a", "a"]


def test_a_root_that_cannot_be_written_is_read_without_a_cache(tmp_path: Path, reads: list[str]) -> None:
    make(tmp_path / "a", {"lr": 0.1}, result=0.5)
    (tmp_path / ".trainctl").write_text("in its way")
    for _ in range(2):
        assert Examiner().exam(tmp_path).named()["a"].result == 0.5
    assert reads == ["a", "a"]


@pytest.mark.usefixtures("trusting")
def test_processes_that_read_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    for number in range(20):
        make(tmp_path / f"r{number:02}", {"lr": number / 8}, result=number)
    code = "import sys; from trainctl.examine import Examiner; from trainctl.examine import cache\n"
    code += "cache._TICK_NS = -10**12\n"
    code += "for _ in range(20): print([row.result for row in Examiner().exam(sys.argv[1]).rows.values()])"
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    assert said == [[str(list(range(20)))] * 20] * 3
    assert len(json.loads((tmp_path / ".trainctl" / "examined.json").read_text())["rows"]) == 20


@pytest.mark.usefixtures("trusting")
def test_what_another_version_has_read_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    make(tmp_path / "a", {"lr": 0.1}, result=0.5)
    Examiner().exam(tmp_path)
    monkeypatch.setattr(cache, "readers", lambda: "another")
    for _ in range(2):
        Examiner().exam(tmp_path)
    assert reads == ["a", "a"]


def test_code_that_reads_runs_is_part_of_what_stands_for_the_version() -> None:
    package = Path(cache.__file__).parents[1]
    found = {pattern: [path.name for path in package.glob(pattern)] for pattern in cache._READERS}
    assert [pattern for pattern, names in found.items() if not names] == []
    assert {"files.py", "metrics.py", "result.py", "status.py", "summary.py"} <= set(found["rundir/*.py"])
