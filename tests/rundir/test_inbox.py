from __future__ import annotations

import threading

import pytest

from trainctl.errors import EditError, RunDirError
from trainctl.rundir.inbox import file_request, list_inbox
from trainctl.rundir.paths import RunDir
from trainctl.rundir.request import is_filed, read_request


def test_filed_request_is_read_as_it_was_asked(run: RunDir) -> None:
    run.create()
    edits = {"optim.lr": "1e-4", r"a\.b": "null", "list": [1, {"x": 0.1}], "text": "\udc80: # x\n- y"}
    request = file_request(run, edits, who="ada", via="cli", note="why\nnot")
    (path,) = list_inbox(run)
    read = read_request(path)
    assert read.edits == {**edits, "text": "?: # x\n- y"}
    assert (read.id, read.who, read.via, read.note) == (request, "ada", "cli", "why\nnot")
    assert is_filed(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_inbox_is_listed_in_order_of_time_without_hidden_and_backup_files(run: RunDir) -> None:
    run.create()
    ids = [file_request(run, {"n": str(number)}, via="cli") for number in range(20)]
    for name in (".half.tmp", "edit.yaml~"):
        (run.inbox / name).write_text("n: 1")
    assert [path.stem for path in list_inbox(run)] == ids


def test_many_writers_never_lose_or_tear_a_request(run: RunDir) -> None:
    run.create()
    seen: list[dict[str, str]] = []

    def write(writer: int) -> None:
        for number in range(40):
            file_request(run, {"n": f"{writer}-{number}"}, via="cli")

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(3)]
    for thread in writers:
        thread.start()
    while any(thread.is_alive() for thread in writers):
        for path in list_inbox(run):  # whatever is seen is whole
            assert len(read_request(path).edits) == 1
    for thread in writers:
        thread.join()
    seen = [dict(read_request(path).edits) for path in list_inbox(run)]
    assert sorted(edit["n"] for edit in seen) == sorted(f"{w}-{n}" for w in range(3) for n in range(40))


def test_request_that_cannot_be_filed_says_why(run: RunDir) -> None:
    with pytest.raises(RunDirError, match=r"cannot be filed in '.*inbox': No such file or directory; is this the dir"):
        file_request(run, {"n": "1"}, via="cli")
    run.create()
    with pytest.raises(EditError, match=r"the request has 104857[0-9]+ bytes; at most 1048576 are allowed"):
        file_request(run, {"n": "x" * (10 * 1024 * 1024)}, via="cli")
    assert list_inbox(run) == []
