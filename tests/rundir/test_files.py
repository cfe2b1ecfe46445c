from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from disks import PAGE, fill

from trainctl.errors import UnreadableError
from trainctl.rundir import files

WaitUntil = Callable[..., Any]

# Rewrites one file and appends to another, over and over, until it is killed.
WRITER = """
import sys
from pathlib import Path
from trainctl.rundir import files
folder = Path(sys.argv[1])
number = 0
while True:
    number += 1
    files.write_yaml(folder / "whole.yaml", {"number": number, "text": "x" * 200_000, "again": number})
    files.append_lines(folder / "lines.jsonl", [{"number": number, "text": "y" * 20_000}])
"""


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


def test_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    files.write_atomic(path, "one")
    files.write_atomic(path, "zwei ü")
    assert path.read_text() == "zwei ü"
    assert path.stat().st_mode & 0o777 == 0o600
    assert leftovers(tmp_path) == []


def test_write_into_a_directory_that_is_gone_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No such file"):
        files.write_atomic(tmp_path / "gone" / "file.yaml", "text")


def test_write_over_a_directory_keeps_it_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file.yaml").mkdir()
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        files.write_atomic(tmp_path / "file.yaml", "text")
    assert leftovers(tmp_path) == []


def test_write_on_a_full_disk_keeps_the_old_content(small_disk: Path) -> None:
    path, lines = small_disk / "file.yaml", small_disk / "lines.jsonl"
    files.write_yaml(path, {"number": 1})
    files.append_lines(lines, [{"number": 1}])
    fill(small_disk / "filler")
    with pytest.raises(OSError, match="No space left") as full:
        files.write_yaml(path, {"number": 2, "text": "x" * 10 * PAGE})
    assert full.value.errno == errno.ENOSPC
    assert files.read_yaml(path) == {"number": 1}
    assert leftovers(small_disk) == []
    with pytest.raises(OSError, match="No space left"):
        files.append_lines(lines, [{"number": 2, "text": "x" * 10 * PAGE}])
    (small_disk / "filler").unlink()
    files.append_lines(lines, [{"number": 3}])
    assert [record["number"] for record in files.read_lines(lines)] == [1, 3]


@pytest.mark.parametrize("round_", range(3))
def test_kill_9_in_the_middle_of_writing_leaves_whole_files(tmp_path: Path, wait_until: WaitUntil, round_: int) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
    try:
        whole, lines = tmp_path / "whole.yaml", tmp_path / "lines.jsonl"
        wait_until(lambda: lines.exists() and lines.stat().st_size > 50_000 * (round_ + 1), "some rounds are written")
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    record = files.read_yaml(whole)
    assert record["number"] == record["again"]
    numbers = [line["number"] for line in files.read_lines(lines)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert record["number"] - len(numbers) in {0, 1}
    files.append_lines(lines, [{"number": "after"}])
    assert [line["number"] for line in files.read_lines(lines)] == [*numbers, "after"]


def test_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    texts = ["a" * 100_000, "b" * 70_000]
    files.write_atomic(path, texts[0])
    end = threading.Event()

    def write() -> None:
        while not end.is_set():
            for text in texts:
                files.write_atomic(path, text)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert {path.read_text() for _ in range(300)} <= set(texts)
    finally:
        end.set()
        writer.join()


@pytest.mark.parametrize(
    "torn", [b'{"number": 2, "te', b'{"number": 2}', b"\xff\xfe", b"[1, 2]\n", b"\n\n", b"nonsense\n"]
)
def test_torn_or_foreign_last_line_is_passed_over(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "lines.jsonl"
    files.append_lines(path, [{"number": 1}])
    with path.open("ab") as file:
        file.write(torn)
    files.append_lines(path, [{"number": 3}, {"number": 4}], durable=True)
    numbers = [record["number"] for record in files.read_lines(path)]
    assert numbers == ([1, 2, 3, 4] if torn == b'{"number": 2}' else [1, 3, 4])


def test_missing_files_read_as_nothing(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert (files.read_yaml(gone), files.read_mapping(gone), files.read_lines(gone)) == (None, {}, [])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a: [",
        b"just text",
        b"[1]",
        b"\xff\xfe\x00",
        b"a: !!python/object:os.system {}",
        b"{[1]: 2}",
        b"a: 1" + 5_000 * b"0",
    ],
)
def test_mapping_that_is_none_reads_as_empty(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    assert files.read_mapping(path) == {}


def test_text_that_is_no_unicode_is_escaped(tmp_path: Path) -> None:
    name = os.fsdecode(b"file \xff")
    files.write_yaml(tmp_path / "file.yaml", {"reason": f"no such file: {name}"})
    files.append_lines(tmp_path / "lines.jsonl", [{"name": name}])
    assert files.read_yaml(tmp_path / "file.yaml") == {"reason": "no such file: file \\udcff"}
    assert files.read_lines(tmp_path / "lines.jsonl") == [{"name": name}]


def test_all_bytes_are_written_where_one_call_takes_a_part(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    data = bytes(range(256)) * 4096
    thread = threading.Thread(target=lambda: (files.write_all(writer, data), os.close(writer)))
    thread.start()
    with os.fdopen(reader, "rb") as file:
        assert file.read() == data
    thread.join()


def test_text_that_need_not_last_is_whole_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise AssertionError("nothing is to be synced")

    monkeypatch.setattr(os, "fsync", refuse)
    path = tmp_path / "status.yaml"
    for text in ("one", "two"):
        files.write_atomic(path, text, durable=False)
        assert path.read_text() == text
    assert os.listdir(tmp_path) == ["status.yaml"]
    with pytest.raises(AssertionError, match="nothing is to be synced"):
        files.write_atomic(path, "three")
    assert path.read_text() == "two"


def test_file_longer_than_its_bound_is_unreadable_and_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(b"a: 1\n")
    assert files.read_bytes(path, 5) == b"a: 1\n"
    with pytest.raises(UnreadableError, match=r"file\.yaml: it is longer than .* MiB"):
        files.read_bytes(path, 4)
    os.truncate(path, 2**42)
    problems: list[str] = []
    assert files.read_mapping(path, problems) == {}
    assert problems == ["file.yaml: it is longer than 16 MiB"]


def test_unreadable_error_survives_pickling_with_its_reason(tmp_path: Path) -> None:
    error = pickle.loads(pickle.dumps(files.unreadable(tmp_path, "not a regular file")))
    assert (str(error), error.why) == (f"{tmp_path}: not a regular file", "not a regular file")


def test_lines_are_read_in_blocks_however_long_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_BLOCK", 64)
    monkeypatch.setattr(files, "MOST_LINE", 1000)
    path = tmp_path / "lines.jsonl"
    for torn in (b"", b'{"number": 999'):
        lines = [files.json_line({"number": number, "text": "x" * (number % 150)}).encode() for number in range(300)]
        path.write_bytes(b"".join(lines) + torn)
        blocks = list(files.read_blocks(path))
        assert b"".join(blocks) == path.read_bytes()
        assert all(block.endswith(b"\n") for block in blocks[:-1])
        assert [record["number"] for record in files.read_lines(path)] == list(range(300))
    path.write_bytes(b"{}\n" + b"x" * 2000)
    with pytest.raises(UnreadableError, match="a line is longer than"):
        files.read_lines(path)


@pytest.mark.parametrize("line", [b"[" * 30_000, b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", b"1" * 5000])
def test_line_that_could_hurt_is_passed_over(line: bytes) -> None:
    good = b'{"a": [' + b"[1], " * 200 + b"[2]]}"
    assert len(list(files.parse_lines(good + b"\n" + line + b"\n" + good))) == 2
