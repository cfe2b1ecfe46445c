from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainctl.errors import EditError
from trainctl.run.inbox import user
from trainctl.run.request import MAX_BYTES, read_request, request_id, short


def drop(folder: Path, content: str | bytes, name: str = "edit.yaml") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_hand_dropped_mapping_is_all_edits(tmp_path: Path) -> None:
    request = read_request(drop(tmp_path, "optim: {lr: 1e-4}\nn: 3\n"))
    assert (request.edits, request.via, request.note) == ({"optim": {"lr": 1e-4}, "n": 3}, "file", None)
    assert request.who == user()


def test_request_may_say_who_and_why(tmp_path: Path) -> None:
    request = read_request(drop(tmp_path, "edits: {n: 3}\nwho: ada\nvia: page\nnote: calmer\n"))
    assert (request.edits, request.who, request.via, request.note) == ({"n": 3}, "ada", "page", "calmer")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it is empty, and must be a mapping of keys to values"),
        ("edits: {optim.lr: 0.", "it is not YAML"),
        ("just text", "it holds str, and must be a mapping"),
        ("- 1", "it holds list"),
        (b"\xff\xfe\x00", "it is not UTF-8 text"),
        (b"\x00" * 100, "it is not YAML"),
        ("edits: {n: 1}\nat: 500\n", "'at' is not known beside 'edits'; allowed are edits, who, via, note"),
        ("n: " + "x" * (10 * 1024 * 1024), "it has 10485763 bytes; at most 1048576 are allowed"),
        ("[" * 200_000, "it is nested more than 100 deep"),
        ("a: &a [1]\nb: *a\n", "it has a YAML alias"),
        ("a: !!python/object/apply:os.system [ls]", "it is not YAML"),
    ],
)
def test_file_that_is_no_request_is_refused_in_one_sentence(tmp_path: Path, content: str | bytes, reason: str) -> None:
    with pytest.raises(EditError, match=f"^the request 'edit.yaml' cannot be read: {reason}") as refused:
        read_request(drop(tmp_path, content))
    assert str(refused.value).isprintable()


def test_link_pipe_and_directory_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link.yaml").symlink_to(drop(tmp_path, "n: 1"))
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    for name, reason in (("link", "it is a link"), ("pipe", "not a regular file"), ("folder", "not a regular file")):
        with pytest.raises(EditError, match=f"cannot be read: .*{reason}"):
            read_request(tmp_path / f"{name}.yaml")


def test_largest_request_is_read(tmp_path: Path) -> None:
    text = "n: " + "x" * (MAX_BYTES - 3)
    assert len(read_request(drop(tmp_path, text)).edits["n"]) == MAX_BYTES - 3


def test_hand_dropped_file_has_another_id_each_time(tmp_path: Path) -> None:
    one = request_id(drop(tmp_path, "n: 1"))
    os.utime(tmp_path / "edit.yaml", ns=(1, 1))
    assert request_id(tmp_path / "edit.yaml") != one
    assert request_id(tmp_path / "20260724T210318.000001-0a1b2c3d.yaml") == "20260724T210318.000001-0a1b2c3d"


def test_record_of_what_was_asked_is_short() -> None:
    asked = {f"key{number}": "x" * 1000 for number in range(1000)}
    assert len(str(short(asked))) < 30_000
    assert short({"a": 1, "b": [1], "c": None, 3: "x"}) == {"a": 1, "b": "a list", "c": None, "3": "x"}
