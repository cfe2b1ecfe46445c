"""Rows in a spool arrive once each and in order, whenever client, server and training are stopped."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from trainctl.rundir import files
from trainctl.track.spool import Spool

START: dict[str, Any] = {"rows": 0, "known": []}


class Client:
    """Takes rows after those that its server has, and loses at will what it has not sent."""

    def __init__(self, server: list[Any]) -> None:
        self.server = server
        self.held = list(server)

    def give(self, row: Mapping[str, Any]) -> None:
        self.held.append(row)

    def arrive(self, count: int) -> None:
        self.server[:] = self.held[: max(count, len(self.server))]


def rows(first: int, last: int) -> list[dict[str, Any]]:
    return [{"step": step, "loss": 0.5} for step in range(first, last + 1)]


def opened(path: Path, client: Client, kept: Mapping[str, Any]) -> Spool:
    spool = Spool(path)
    assert spool.recover(len(client.server), kept["rows"], kept["known"])
    spool.give_waiting(client.give)
    return spool


@settings(max_examples=examples(50))  # each row is synced to the disk
@given(st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.integers(0, 60)), max_size=12))
def test_each_row_arrives_once_and_in_order(attempts: list[tuple[int, bool, int]]) -> None:
    """Each attempt sends some rows, is stopped before or after that is noted, and so many rows have then arrived."""
    server: list[Any] = []
    kept, noted = START, 0
    with tempfile.TemporaryDirectory() as directory:
        for count, is_noted, arrived in [*attempts, (1, True, 1000)]:
            client = Client(server)
            spool = opened(Path(directory, "rows"), client, kept)
            spool.send(rows(noted + 1, noted + count), client.give)
            if is_noted:
                kept, noted = spool.kept(), noted + count
            client.arrive(arrived)
    assert server == rows(1, max(noted, len(server)))


def test_a_client_that_fails_is_given_each_row_once_when_the_call_is_repeated(tmp_path: Path) -> None:
    client = Client([])
    spool = opened(tmp_path / "rows", client, START)

    def fail(row: Mapping[str, Any]) -> None:
        if row["step"] == 3:
            raise ConnectionResetError("gone")
        client.give(row)

    with pytest.raises(ConnectionResetError, match="gone"):
        spool.send(rows(1, 5), fail)
    spool.send(rows(1, 6), client.give)
    assert client.held == rows(1, 6)
    assert spool.kept() == {"rows": 6, "known": []}


def test_a_full_disk_gives_the_client_nothing_and_numbers_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client([])
    spool = opened(tmp_path / "rows", client, START)
    spool.send(rows(1, 2), client.give)
    whole = files.write_all

    def half(descriptor: int, data: bytes) -> None:
        whole(descriptor, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_all", half)
    with pytest.raises(OSError, match="No space left"):
        spool.send(rows(3, 8), client.give)
    assert client.held == rows(1, 2)
    monkeypatch.setattr(files, "write_all", whole)
    spool.send(rows(3, 8), client.give)
    client = Client([])
    opened(tmp_path / "rows", client, spool.kept())
    assert client.held == rows(1, 8)


def test_equal_rows_are_rows_of_their_own(tmp_path: Path) -> None:
    client = Client([])
    spool = opened(tmp_path / "rows", client, START)
    spool.send(rows(1, 1) * 3, client.give)
    client.arrive(2)
    client = Client(client.server)
    opened(tmp_path / "rows", client, START).send(rows(1, 1) * 4, client.give)
    assert client.held == rows(1, 1) * 4


def test_a_server_that_has_lost_all_is_sent_all_again_and_one_that_has_lost_some_goes_on(tmp_path: Path) -> None:
    client = Client([])
    spool = opened(tmp_path / "rows", client, START)
    spool.send(rows(1, 5), client.give)
    client.arrive(5)
    kept = opened(tmp_path / "rows", client, spool.kept()).kept()  # by now the first rows are no longer held
    assert not Spool(tmp_path / "rows").recover(0, kept["rows"], kept["known"])
    client = Client(rows(1, 3))
    spool = opened(tmp_path / "rows", client, kept)
    spool.send(rows(6, 7), client.give)
    assert client.held == [*rows(1, 3), *rows(6, 7)]
    client.arrive(4)
    client = Client(client.server)
    opened(tmp_path / "rows", client, spool.kept())
    assert client.held == [*rows(1, 3), *rows(6, 7)]
