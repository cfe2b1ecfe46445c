"""The position of a tracker in a run: a small file in the run dir, so that nothing is sent twice or forgotten.

The sender (the run itself, a later attempt, `trainctl sync`) holds its lock, and continues where the last one stopped.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from trainctl.rundir import files
from trainctl.rundir.fields import number, whole
from trainctl.rundir.lock import RunLock
from trainctl.rundir.metrics import parse_metrics
from trainctl.rundir.paths import RunDir


@dataclass(slots=True)
class Cursor:
    """The state of what was sent.

    Attributes:
        key: a text unique to this run, by which a tracker finds it again after a kill before its id was known.
        kept: what the tracker needs to find the run again.
        inode, offset: of `metrics.jsonl`: all before that is sent.
        step, t: of the last record that was sent.
        changes: of the edits that were sent, step, key and value.
        changelog: hash of the changelog that was sent last.
        ended: attempt and state of the end that was sent last.
    """

    key: str = field(default_factory=lambda: secrets.token_hex(8))
    kept: dict[str, Any] = field(default_factory=dict)
    inode: int = 0
    offset: int = 0
    step: int = 0
    t: float = 0.0
    changes: list[str] = field(default_factory=list)
    changelog: str = ""
    ended: str = ""

    @classmethod
    def read(cls, path: Path) -> Cursor:
        """Read a cursor; a new one if there is none, or if the file is not a cursor.

        Raises:
            UnreadableError: something else than a file is there, or one that is too long.
        """
        try:
            data = files.read_bytes(path, files.MOST_CHANGELOG)
            found = json.loads(data)
        except (FileNotFoundError, ValueError, RecursionError):
            return cls()
        if not isinstance(found, dict) or files.is_deep_json(data, found):
            return cls()
        new = cls()
        for one in fields(cls):
            default, value = getattr(new, one.name), found.get(one.name)
            if isinstance(default, float):
                found_number = number(value)
                value = None if found_number is None else float(found_number)
            elif isinstance(default, int):
                value = whole(value)
            if isinstance(value, type(default)):
                setattr(new, one.name, value)
        new.offset = max(0, new.offset)
        new.changes = [str(mark) for mark in new.changes if re.match(r"\d{1,18} ", str(mark))]
        return new

    def write(self, path: Path) -> None:
        """Replace the file.

        Raises:
            OSError: it cannot be written.
        """
        files.write_atomic(path, json.dumps(asdict(self)), durable=False)


def place_of(run: RunDir, tracker: str) -> Path:
    """Return the path of a tracker's cursor, making its directory.

    Raises:
        OSError: it cannot be made.
    """
    directory = run.path / ".track"
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.is_symlink():
        raise files.unreadable(directory, "it is a link, which is not followed")
    return directory / f"{tracker}.json"


def lock_of(run: RunDir, tracker: str) -> RunLock:
    """Return the lock that a sending process must hold."""
    return RunLock(place_of(run, tracker).with_suffix(".lock"))


def read_after(path: Path, cursor: Cursor, most: int) -> tuple[list[dict[str, Any]], int, int, int | None]:
    """Return the next whole records, where they end, of which inode, and after which step others take their place.

    That is None unless the file was replaced by another (a run went on from a checkpoint). In such a one records that
    were sent already come first: they are as old as the last one that was sent, or older.
    """
    try:
        with files.open_regular(path) as file:
            stat = os.fstat(file.fileno())
            is_new = bool(cursor.inode) and (stat.st_ino != cursor.inode or stat.st_size < cursor.offset)
            offset = 0 if is_new else cursor.offset
            file.seek(offset)
            records: list[dict[str, Any]] = []
            kept = 0
            while len(records) < most:
                line = file.readline(files.MOST_LINE + 1)
                if len(line) > files.MOST_LINE:
                    raise files.unreadable(path, f"a line is longer than {files.MOST_LINE / 2**20:g} MiB")
                if not line.endswith(b"\n"):
                    break  # the rest is still being written
                offset += len(line)
                found = next(iter(parse_metrics(line)), None)
                if found is not None and is_new and not records and _is_sent(found, cursor):
                    kept = max(kept, found["step"])
                elif found is not None:
                    records.append(found)
            return records, offset, stat.st_ino, kept if is_new else None
    except FileNotFoundError:
        return [], cursor.offset, cursor.inode, None


def _is_sent(record: dict[str, Any], cursor: Cursor) -> bool:
    t = record.get("t")
    return isinstance(t, int | float) and t <= cursor.t and type(record.get("step")) is int
