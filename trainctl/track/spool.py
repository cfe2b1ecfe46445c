"""Rows for a client that accepts them at once and sends them later: they are stored before they are handed over."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainctl.rundir import files
from trainctl.rundir.metrics import parse_metrics

Row = Mapping[str, Any]


class Spool:
    """Numbers the rows of a run in the order in which a client is given them, and keeps them in a file.

    The number of rows on the server then tells which ones it has, however client and training were stopped. Rows that
    are sent again keep their numbers, so a client that was left behind may send the same ones without harm.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._end = 0
        self._known: Counter[str] = Counter()
        self._waiting: deque[Row] = deque()

    def recover(self, arrived: int, noted: int, known: Iterable[str]) -> bool:
        """Take up what earlier attempts left: rows that did not arrive are given before all others.

        Args:
            arrived: how many rows the server has, the first ones.
            noted: how many rows will not be sent again by those who send; what follows is known when it comes.
            known: what else is.

        Returns: False when the server has lost all rows, and they are no longer here: all must be sent again.
        """
        held = [(number, row) for number, row in self._read() if number >= min(arrived, noted)]
        self._known = Counter(known)
        self._known.update(_mark(row) for number, row in held if number >= noted)
        first = held[0][0] if held else noted
        is_lost = arrived == 0 < first
        if is_lost:
            held = []
            self._known.clear()
        elif arrived < first:  # it has lost some, such as after a restored backup: what is here comes after those
            held = list(enumerate((row for _, row in held), arrived))
        self._end = max(arrived, held[-1][0] + 1 if held else 0)
        self._waiting = deque(row for number, row in held if number >= arrived)
        files.write_atomic(self._path, "".join(files.json_line({"n": n, "row": row}) for n, row in held))
        return not is_lost

    def send(self, rows: Sequence[Row], give: Callable[[Row], None]) -> None:
        """Give the client these rows, but those that it was given before; a call that has failed is to be repeated.

        Raises:
            OSError: they cannot be written down; none was given.
        """
        new: list[Row] = []
        known: list[str] = []
        for row in rows:
            if self._known[_mark(row)] > 0:
                self._known[_mark(row)] -= 1
                known.append(_mark(row))
            else:
                new.append(row)
        try:
            self._write(new)
            known += map(_mark, new)
            self.give_waiting(give)
        except BaseException:
            self._known.update(known)
            raise

    def give_waiting(self, give: Callable[[Row], None]) -> None:
        """Give the client what is written down and was not given yet."""
        while self._waiting:
            give(self._waiting[0])
            self._waiting.popleft()

    def kept(self) -> dict[str, Any]:
        """Return the `noted` and `known` that `recover` needs if this process is killed now."""
        return {"rows": self._end, "known": sorted(self._known.elements())}

    def _read(self) -> Iterator[tuple[int, Row]]:
        with contextlib.suppress(FileNotFoundError):
            for block in files.read_blocks(self._path):
                for one in parse_metrics(block):
                    if type(one.get("n")) is int and isinstance(one.get("row"), dict):
                        yield one["n"], one["row"]

    def _write(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        size = self._path.stat().st_size
        try:
            records = ({"n": number, "row": row} for number, row in enumerate(rows, self._end))
            files.append_lines(self._path, records, durable=True)
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(self._path, size)
            raise
        self._end += len(rows)
        self._waiting.extend(rows)


def _mark(row: Row) -> str:
    """Return what is the same for a row and for its copy in the file."""
    return hashlib.blake2b(files.encoded(files.json_line(row)), digest_size=8).hexdigest()
