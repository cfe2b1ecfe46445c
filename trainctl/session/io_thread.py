"""The daemon thread beside the training thread: it reads requests and writes metrics and progress."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from trainctl.attempt.attempt import describe
from trainctl.attempt.host import start_thread
from trainctl.rundir import events
from trainctl.rundir.events import Answers, Event
from trainctl.rundir.inbox import list_inbox
from trainctl.rundir.metrics import MetricLog
from trainctl.rundir.pace import Pace, Progress, write_progress
from trainctl.rundir.paths import RunDir
from trainctl.rundir.request import Request, is_filed, read_request, request_id
from trainctl.session.flags import Asks
from trainctl.session.reads import Reads

log = logging.getLogger(__name__)

_FLUSH_S = 0.25
_PROGRESS_S = 1.0
_SETTLE_S = 0.25  # a file that somebody copied here may still be growing
_PATIENCE_S = 5.0  # a file system that does not answer must not keep a run from ending


class Position(NamedTuple):
    """The progress of a training; `total` is None when it is not known.

    `stretch` changes when a resume moves the step count: how many resumes there were, and the step they went to.
    """

    step: int
    total: int | None
    is_paused: bool = False
    stretch: tuple[int, int] = (0, 0)


class Pump:
    """Moves data between files and the training thread, so that `step()` never touches a file system.

    Args:
        run: the run dir.
        poll_s: seconds between two looks into the inbox.
        taken: where requests are put for the training thread.
        seen: ids of requests that are answered already.
        position: returns the progress of the training.
        reads: watches who reads the keys of edits.
        asks: tracks what the loop was asked to do.
    """

    def __init__(
        self,
        run: RunDir,
        *,
        poll_s: float,
        taken: deque[Request],
        seen: set[str],
        answers: Answers,
        metrics: MetricLog,
        position: Callable[[], Position],
        reads: Reads,
        asks: Asks,
    ) -> None:
        self._run = run
        self._poll_s = poll_s
        self._taken = taken
        self._seen = seen
        self._answers = answers
        self._metrics = metrics
        self._position = position
        self._reads = reads
        self._asks = asks
        self._unsettled: dict[Path, tuple[object, float]] = {}
        self._flushed = self._progressed = time.monotonic()
        self._stretch = (0, 0)
        self._was_paused = False
        self._pace = Pace()
        self._is_failing = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="trainctl-pump", daemon=True)

    def start(self) -> None:
        """Take the requests that are there already, so that the first step sees them, and start the thread.

        Raises:
            JobError: the system starts no more threads.
        """
        with contextlib.suppress(OSError):  # the thread says so
            self.look()
        start_thread(self._thread, "the thread that reads requests and writes metrics")

    def stop(self) -> bool:
        """End the thread, take the last requests, and write what is left; return whether the thread ended."""
        self._stop.set()
        self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():
            log.error("the file system of %s does not answer; the end of the run is not written there", self._run.path)
            return False
        with contextlib.suppress(OSError):  # the inbox is gone: nothing to take
            self.look(settled=True)
        self._metrics.flush(is_last=True)
        self._write_progress()
        return True

    def look(self, *, settled: bool = False) -> None:
        """Take new requests from the inbox, in order of their names; with `settled`, also files that may be unfinished.

        Raises:
            OSError: the inbox cannot be listed.
        """
        for path in list_inbox(self._run):
            try:
                request = request_id(path)
                if request not in self._seen and (settled or is_filed(path) or self._is_settled(path)):
                    self._take(path, request)
            except FileNotFoundError:
                continue  # withdrawn by the user who filed it

    def _take(self, path: Path, request: str) -> None:
        self._seen.add(request)
        self._unsettled.pop(path, None)
        try:
            read = read_request(path)
        except FileNotFoundError:
            raise
        except Exception as error:  # whatever lies there, it is answered, and those after it are taken
            log.debug("the request %s cannot be read", path, exc_info=True)
            self._answers.give(Event(request, "rejected", via="file", reason=describe(error)), path)
            return
        with contextlib.suppress(OSError):  # a full disk: the request is answered, which is what counts
            events.append(self._run, [Event.about(read, "pending")])
        self._taken.append(read)

    def _is_settled(self, path: Path) -> bool:
        found, now = path.lstat(), time.monotonic()
        seen = (found.st_ino, found.st_size, found.st_mtime_ns)
        before = self._unsettled.get(path)
        if before is None or before[0] != seen:
            self._unsettled[path] = (seen, now)
            return False
        return now - before[1] >= _SETTLE_S

    def _work(self) -> None:
        while not self._stop.wait(self._poll_s):
            try:
                self._round()
                self._is_failing = False
            except Exception as error:  # noqa: BLE001  # whatever it is, requests after it must still be taken
                if not self._is_failing:
                    log.error("the I/O thread of %s failed: %s: %s", self._run.path, type(error).__name__, error)
                self._is_failing = True

    def _round(self) -> None:
        self.look()
        self._answers.try_again()
        self._reads.write()
        self._asks.write()
        now = time.monotonic()
        if now - self._flushed >= _FLUSH_S:
            self._flushed = now
            self._metrics.flush()
        position = self._position()
        self._note_pace(position, now)
        if now - self._progressed >= _PROGRESS_S or position.is_paused != self._was_paused:
            self._write_progress()

    def _note_pace(self, position: Position, now: float) -> None:
        """Note the current step for the pace, which leaves out pauses, resumes, and the time before the first step."""
        if position.stretch != self._stretch or position.is_paused:
            self._stretch, self._pace = position.stretch, Pace()
        elif position.step > position.stretch[1]:
            self._pace.note(position.step, now)

    def _write_progress(self) -> None:
        self._progressed = now = time.monotonic()
        position, t = self._position(), time.time()
        self._note_pace(position, now)
        self._was_paused = position.is_paused
        began = None if self._pace.began is None else t - (now - self._pace.began)
        progress = Progress(
            position.step, position.total, self._pace.rate, began, t, position.is_paused, self._asks.looks
        )
        with contextlib.suppress(OSError):  # it is only shown; the next one may succeed
            write_progress(self._run, progress)
