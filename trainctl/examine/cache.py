"""Rows that were read before, kept in `<root>/.trainctl/examined.json` and used only while no file has changed.

A row is known by inode, size and both times of each file that it was read from. That is not enough for a file that was
written just before: it can be written again within the same tick of the file system's clock, with the same size. So a
row is kept only if its files are older than that, by the clock of the file system itself (git's index has the same
rule). Rows of running runs are never kept, since a kill changes no file. Rows that another version of trainctl has read
are not used.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trainctl.examine.row import Row
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir, own_dir
from trainctl.rundir.status import ALIVE
from trainctl.track import tensorboard

_READERS = ("config/*.py", "examine/*.py", "rundir/*.py", "text.py", "track/tensorboard.py")
_TICK_NS = 2_000_000_000  # of the coarsest file systems (FAT); others have milliseconds

Signature = list[list[Any]]


class Cache:
    """The cached rows below one root. If anything is wrong with the file, everything is read again."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = own_dir(root) / "examined.json"
        self._rows: dict[str, Any] = {}
        self._is_changed = False
        self._now_ns = _clock_of(root)
        with contextlib.suppress(OSError, ValueError, RecursionError):
            if os.stat(self._path).st_uid != os.geteuid():
                return  # other users may write anything into a shared directory
            with files.open_regular(self._path) as file:
                found = json.loads(file.read())
            if isinstance(found, dict) and found.get("by") == readers() and isinstance(found.get("rows"), dict):
                self._rows = found["rows"]

    def get(self, run: RunDir, signature: Signature) -> Row | None:
        """Return the row of a run whose files are as they were."""
        kept = self._rows.get(str(run.path))
        if not isinstance(kept, list) or len(kept) != 2 or kept[0] != signature:
            return None
        try:
            return Row.from_plain(run, kept[1])
        except (TypeError, KeyError, AttributeError):
            return None  # somebody else's file

    def put(self, row: Row, signature: Signature) -> None:
        """Keep a row; `signature` was taken before it was read."""
        newest = max((max(entry[3:]) for entry in signature if len(entry) > 1), default=0)
        if self._now_ns is None or newest > self._now_ns - _TICK_NS or row.state in ALIVE or row.problems:
            return
        plain = row.to_plain()
        if _is_json(plain):
            self._rows[str(row.run.path)] = [signature, plain]
            self._is_changed = True

    def write(self, known: Iterable[RunDir]) -> None:
        """Write what was read again, but for runs that are gone; a directory of somebody else is left alone."""
        if self._is_changed:
            paths = {str(run.path) for run in known}
            kept = {path: row for path, row in self._rows.items() if path in paths or os.path.lexists(path)}
            with contextlib.suppress(OSError):
                files.write_atomic(self._path, json.dumps({"by": readers(), "rows": kept}), durable=False)
        self._is_changed = False


@functools.cache
def readers() -> str:
    """Return a key of the reading code; rows read by other code are not used."""
    package = Path(__file__).parents[1]
    stats = [(path.name, path.stat()) for pattern in _READERS for path in sorted(package.glob(pattern))]
    text = repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def signature_of(run: RunDir) -> Signature:
    """Return what tells whether a run's files have changed: name, inode, size, and times of change of each."""
    own = (run.run, run.status, run.changelog, run.metrics, run.progress, run.result, run.stop, run.config)
    paths = [*own, run.config.parent / "hydra.yaml", run.path / "param", run.path / "stat"]
    found: Signature = []
    for path in (*paths, *tensorboard.find_event_files(run.path)):
        try:
            stat = os.stat(path)
        except OSError:
            found.append([str(path)])
        else:
            found.append([str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns])
    return found


def _clock_of(root: Path) -> int | None:
    """Return the time by the clock of the root's file system; None if it is not writable, so nothing is cached."""
    directory = own_dir(root)
    probe = directory / f".examined.clock.{os.getpid()}.tmp"
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(directory, 0o700)
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            return os.fstat(descriptor).st_mtime_ns
        finally:
            os.close(descriptor)
            os.unlink(probe)
    except OSError:
        return None


def _is_json(value: Any) -> bool:
    """Whether a value survives JSON unchanged."""
    if isinstance(value, dict):
        return all(type(key) is str and _is_json(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(_is_json, value))
    return value is None or type(value) in (str, int, float, bool)
