from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainctl.config import yaml
from trainctl.errors import EditError
from trainctl.rundir.inbox import user
from trainctl.rundir.request import MAX_BYTES, read_request, request_id, short


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


def test_request_may_wait_insist_change_relatively_take_back_or_act(tmp_path: Path) -> None:
    later = read_request(drop(tmp_path, "edits: {n: 3}\nrelative: {lr: {op: '*', by: 0.5}}\nat: 40\nforce: true\n"))
    assert (later.at, later.force, later.asked) == (40, True, {"n": 3, "lr*": 0.5})
    assert read_request(drop(tmp_path, "relative: {n: {op: +, by: '3'}}\n")).relative == {"n": {"op": "+", "by": "3"}}
    assert read_request(drop(tmp_path, "undo: true\n")).undo is True
    assert read_request(drop(tmp_path, "undo: 3\nnote: oh\n")).undo == 3
    acting = read_request(drop(tmp_path, "action: sample\narguments: {n: 4}\n"))
    assert (acting.action, acting.arguments, acting.edits) == ("sample", {"n": 4}, {})


@pytest.mark.parametrize(
    "content",
    ["action: {kind: relu}\n", "undo: {steps: 3}\n", "relative: true\n", "relative: {lr: 0.1}\n", "at: 3\nforce: 2\n",
     "action: relu\nlr: 0.1\n", "note: x\nwho: y\n"],
)  # fmt: skip
def test_hand_dropped_keys_that_happen_to_be_called_as_our_fields_are_edits(tmp_path: Path, content: str) -> None:
    assert read_request(drop(tmp_path, content)).edits == yaml.loads(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it is empty, and must be a mapping of keys to values"),
        ("edits: {optim.lr: 0.", "it is not YAML"),
        ("just text", "it holds str, and must be a mapping"),
        ("- 1", "it holds list"),
        (b"\xff\xfe\x00", "it is not UTF-8 text"),
        (b"\x00" * 100, "it is not YAML"),
        (
            "edits: {n: 1}\nwhen: 500\n",
            "'when' is not known beside 'edits'; allowed are edits, relative, undo, action, cancel, arg",
        ),
        ("edits: {n: 1}\nat: soon\n", "'at' must be a step, a whole number from 1, but is 'soon'"),
        ("edits: {n: 1}\nat: 0\n", "'at' must be a step, a whole number from 1, but is '0'"),
        ("edits: {n: 1}\nat: true\n", "'at' must be a step, a whole number from 1, but is 'True'"),
        ("edits: {n: 1}\nforce: 1\n", "'force' must be true or false but is '1'"),
        ("edits: {n: 1}\nundo: 2\n", "it asks for edits and undo; ask for each in its own request"),
        ("edits: {n: 1}\naction: stop\n", "it asks for edits and action; ask for each in its own request"),
        ("edits: {n: 1}\narguments: {a: 1}\n", "it has 'arguments' but no 'action'"),
        ("edits: {}\nrelative: [1]\n", "'relative' must be a mapping but is list"),
        (
            "edits: {}\nrelative: {n: {op: '%', by: 1}}\n",
            r"the relative edit of 'n' must be such as \{op: '\*', by: 0\.5\}",
        ),
        ("edits: {}\nundo: 0\n", "'undo' must be the number of an edit, or true for the last one, but is '0'"),
        ("edits: {}\nundo: last\n", "'undo' must be the number of an edit"),
        ("edits: {}\naction: [x]\n", "'action' must be the name of an action but is list"),
        ("action: a\narguments: {1: 2}\n", "'arguments' must be values by name"),
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
