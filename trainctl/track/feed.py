"""Bringing one tracker up to date with one run: while it trains, after a kill, and by `trainctl sync`."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import logging
import os
import time
from dataclasses import dataclass
from typing import Any

from trainctl.config import yaml
from trainctl.config.masking import OMITTED, Masking
from trainctl.errors import SettingError
from trainctl.rundir import files
from trainctl.rundir.fields import unix_time
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import ALIVE, Seen, Status, read_status, state_of
from trainctl.rundir.summary import summarize
from trainctl.track import net
from trainctl.track.cursor import Cursor, lock_of, place_of, read_after
from trainctl.track.facts import Told
from trainctl.track.tracker import NAMES, MetricRecord, Tracker, ValueChange

log = logging.getLogger(__name__)

_BATCH = 500
_CHANGELOG_S = 30.0  # between two copies of the changelog, while edits come
_LARGEST_STEP = 2**63 - 1  # of trackers
_LONGEST_MARK = 200  # of an edit, in the cursor


@dataclass(slots=True)
class Sent:
    """The counts of what a feed has sent."""

    records: int = 0
    changes: int = 0


def check(names: list[str]) -> None:
    """Refuse trackers that are not available here.

    Raises:
        SettingError: there is no such tracker, or its package is not installed.
    """
    for name in names:
        if name not in NAMES:
            raise SettingError(f"trainctl.track={name!r} is not a tracker; allowed are {', '.join(NAMES)}")
        if importlib.util.find_spec(name) is None:
            raise SettingError(
                f"trainctl.track={name!r} needs the package {name}: pip install 'hydra-trainctl[{name}]'"
            )


def make_tracker(name: str, run: RunDir) -> Tracker:
    """Import the module of a tracker, and make the tracker of a run."""
    tracker: Tracker = _module(name).make(run)
    return tracker


def has_open_run(name: str) -> bool:
    """Whether the task itself has a run open on a tracker; this imports the tracker's library."""
    try:
        return bool(net.noted(name)) or bool(_module(name).task_has_run())
    except Exception:  # noqa: BLE001  # raised by the tracker's library; reported when the run is opened
        return False


def _module(name: str) -> Any:
    if name == "mlflow":
        from trainctl.track import mlflow

        return mlflow
    if name == "tensorboard":
        from trainctl.track import tensorboard

        return tensorboard
    from trainctl.track import wandb

    return wandb


class Feed:
    """One run and one tracker. Used by one thread; nothing is open before the first `round`."""

    def __init__(self, run: RunDir, name: str, *, says_omitted: bool = False) -> None:
        """Make a feed; with `says_omitted` it logs, for all trackers, which keys they do not get."""
        self.run, self.name = run, name
        self._says_omitted = says_omitted
        self._tells_metrics = True
        self._is_live = self._was_over = False
        self.sent = Sent()
        self.tracker: Tracker | None = None
        self._lock = lock_of(run, name)
        self._path = place_of(run, name)
        self._cursor = Cursor()
        self._made: Tracker | None = None
        self._masking = Masking({})
        self._looked: Any = None
        self._is_behind = False  # the tracker's copy of the changelog
        self._copied = float("-inf")

    def load(self) -> None:
        """Import the tracker's library in the training itself: that must be done before a program ends."""
        self._made, self._is_live = make_tracker(self.name, self.run), True

    def take(self) -> bool:
        """Take the lock; return whether no other process is sending."""
        return self._lock.acquire()

    def round(self, *, is_last: bool = False, ended: Status | None = None) -> None:
        """Send what is new; with `is_last` the changelog too, and how the run ended if it has.

        Args:
            is_last: nothing will follow.
            ended: how it ended, where that is known better than from the run dir.

        Raises:
            Exception: whatever the tracker's library raises when it cannot; what was sent until then is noted.
        """
        if self.tracker is None:
            self._open()
        try:
            if not self._is_over():
                self._send(is_last=is_last, ended=ended)
        except Exception:
            if not self._is_over():
                raise

    def _is_over(self) -> bool:
        """Whether the task has ended its own run; then nothing but the metrics of `live.log` is still sent to it."""
        assert self.tracker is not None
        self._was_over = self._was_over or (not self._tells_metrics and self.tracker.is_over)
        return self._was_over

    def _send(self, *, is_last: bool, ended: Status | None) -> None:
        while self._metrics():
            pass
        self._changes(is_last=is_last)
        if is_last:
            self._end(ended)

    def is_behind(self) -> bool:
        """Whether there is something to send: by the note, and if that says no, by what the tracker still has.

        Raises:
            Exception: whatever the tracker's library raises when that cannot be asked.
        """
        cursor = Cursor.read(self._path)
        if cursor.kept.get("over") is True:
            return False
        try:
            stat = os.stat(self.run.metrics)
            is_whole = (stat.st_ino, stat.st_size) == (cursor.inode, cursor.offset)
        except FileNotFoundError:
            is_whole = cursor.inode == 0
        is_ended = _mark_of(read_status(self.run), state_of(self.run)) in (cursor.ended, None)
        if not (is_whole and is_ended and cursor.kept and _digest(Told(self.run).text()) == cursor.changelog):
            return True
        return not _module(self.name).has_all(self.run, cursor.kept)

    def close(self) -> None:
        """Close the tracker and release the lock."""
        if self.tracker is not None:
            self.tracker.close()
            self._cursor.kept = {**self.tracker.kept(), **({"over": True} if self._was_over else {})}
            with contextlib.suppress(OSError):  # the disk is full: what it says is true, only not the latest
                self._cursor.write(self._path)
            self.tracker = None
        self._lock.release()

    @property
    def address(self) -> str | None:
        return self.tracker.address() if self.tracker is not None else None

    def _open(self) -> None:
        self._cursor = Cursor.read(self._path)
        self._cursor.write(self._path)  # its key is known before the tracker hears of it
        told = Told(self.run)
        self._masking = told.masking
        tracker, self._made = self._made or make_tracker(self.name, self.run), None
        try:
            kept = {"key": self._cursor.key, **self._cursor.kept, "live": self._is_live}
            self._cursor.kept = tracker.open(told.facts(), kept)
            self._cursor.write(self._path)
        except BaseException:
            tracker.close()
            self._note_place(tracker)
            raise
        said = told.tells_metrics
        self._tells_metrics = not tracker.is_attached if said is None else said
        if self._is_live and not self._tells_metrics and said is None:
            log.info(
                "%s: the task has opened this run itself, so it is sent edits, config and status, but no metrics "
                "(trainctl.track_metrics=true sends them too)", self.name,
            )  # fmt: skip
        if self._says_omitted and told.omitted:
            self._says_omitted = False
            log.info(
                "trackers are sent %s for %s: they look like secrets, or trainctl.hidden or trainctl.omit names them "
                "(trainctl.hidden=['!KEY'] sends one that is not secret)",
                OMITTED, ", ".join(told.omitted),
            )  # fmt: skip
        if tracker.has_lost_all:
            self._cursor = Cursor(self._cursor.key, self._cursor.kept)
        self._cursor.changelog = ""  # a client that was killed may not have sent on what it was given
        self.tracker = tracker
        self._looked = None

    def _note_place(self, tracker: Tracker) -> None:
        """Note where a run that cannot be opened now is to be sent later."""
        uri = tracker.kept().get("uri")
        if uri and self._is_live and not self._cursor.kept.get("run_id"):
            self._cursor.kept = {**self._cursor.kept, "uri": uri}
            with contextlib.suppress(OSError):
                self._cursor.write(self._path)

    def _metrics(self) -> bool:
        """Send one batch; return whether there may be more."""
        assert self.tracker is not None
        cursor = self._cursor
        found, offset, inode, rewound = read_after(self.run.metrics, cursor, _BATCH)
        records = [record for one in found if (record := _record(one, self._masking)) is not None]
        if rewound is not None:
            self._rewind(rewound)
        if records:
            if self._tells_metrics:
                self.tracker.metrics(records)
                self.sent.records += len(records)
            cursor.step, cursor.t = records[-1].step, records[-1].t
        if (cursor.inode, cursor.offset) != (inode, offset):
            cursor.inode, cursor.offset, cursor.kept = inode, offset, self.tracker.kept()
            cursor.write(self._path)
        return len(found) == _BATCH

    def _rewind(self, step: int) -> None:
        assert self.tracker is not None
        if self.tracker.rewind(step):
            self._cursor.changes = [mark for mark in self._cursor.changes if int(mark.partition(" ")[0]) <= step]
            self._looked = None

    def _changes(self, *, is_last: bool) -> None:
        """Send edits that were not sent, then the changelog: at once, but not all the time."""
        assert self.tracker is not None
        stat = os.stat(self.run.changelog)
        seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        is_due = is_last or time.monotonic() - self._copied >= _CHANGELOG_S
        if seen == self._looked and not (is_last or (is_due and self._is_behind)):
            return
        told, cursor = Told(self.run), self._cursor
        self._masking = told.masking
        changes = [change for change in map(self._unsent, told.changes()) if change is not None]
        if changes:
            self.tracker.changes(changes)
            cursor.changes += [mark for change in changes for mark in _marks(change)]
            cursor.kept = self.tracker.kept()
            cursor.write(self._path)
            self.sent.changes += sum(change.step > 0 for change in changes)
        text = told.text()
        digest = _digest(text)
        self._is_behind = digest != cursor.changelog
        if self._is_behind and is_due:
            self.tracker.changelog(text)
            self._copied = time.monotonic()
            cursor.changelog, cursor.kept = digest, self.tracker.kept()
            cursor.write(self._path)
            self._is_behind = False
        self._looked = seen

    def _unsent(self, change: ValueChange) -> ValueChange | None:
        marks = dict(zip(_marks(change), change.values.items(), strict=True))
        new = dict(pair for mark, pair in marks.items() if mark not in self._cursor.changes)
        if not new:
            return None
        return dataclasses.replace(
            change, values=new, said={key: change.said[key] for key in new if key in change.said}
        )

    def _end(self, ended: Status | None) -> None:
        assert self.tracker is not None
        found = summarize(self.run)
        state, reason = (ended.state, ended.reason) if ended is not None else (found.state, found.reason)
        mark = _mark_of(ended or read_status(self.run), state)
        if mark is not None and state != "unreadable" and self._cursor.ended != mark:
            self.tracker.end(state, reason and self._masking.text(reason))
            self._cursor.ended, self._cursor.kept = mark, self.tracker.kept()
            self._cursor.write(self._path)


def _mark_of(status: Status | None, state: Seen) -> str | None:
    """Return what stands for the end of an attempt; None while it runs."""
    return None if status is None or state in (*ALIVE, "queued", "unreadable") else f"{status.attempt} {state}"


def _digest(text: str) -> str:
    return hashlib.sha256(files.encoded(text)).hexdigest()[:16]


def _record(found: dict[str, Any], masking: Masking) -> MetricRecord | None:
    step, t = found.get("step"), found.get("t")
    if type(step) is not int or abs(step) > _LARGEST_STEP:
        return None  # a foreign line
    given = ((name, value) for name, value in found.items() if name not in ("step", "t"))
    values = {name: masking.text(value) if isinstance(value, str) else value for name, value in given}
    return MetricRecord(step, unix_time(t) or 0.0, values)


def _marks(change: ValueChange) -> list[str]:
    texts = [f"{change.step} {key}={yaml.inline(value)}" for key, value in change.values.items()]
    return [text if len(text) <= _LONGEST_MARK else f"{text[:_LONGEST_MARK]} {_digest(text)}" for text in texts]
