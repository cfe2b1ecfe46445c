"""The last word on each request: its final event first, then its file leaves the inbox."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import deque
from pathlib import Path

from trainctl.run import events
from trainctl.run.events import Event
from trainctl.run.rundir import RunDir

log = logging.getLogger(__name__)


class Answers:
    """Writes final events. One that cannot be written (a full disk) is kept, with its file, and tried again."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._unwritten: deque[tuple[Event, Path | None]] = deque()
        self._reason = ""  # why an event could not be written

    @property
    def loss(self) -> str | None:
        """What `events.jsonl` lacks, and why, in one sentence; None: nothing."""
        if not self._unwritten:
            return None
        count = len(self._unwritten)
        return f"{self._run.events.name} could not be written: {count} answer{'s' * (count > 1)} lost ({self._reason})"

    def give(self, event: Event, source: Path | None = None) -> None:
        """Write a final event and remove the request's file.

        A refusal is on disk before the file goes. That an edit was applied is told by the changelog and its `applying`
        event, which are on disk already: the training need not wait for the disk once more.
        """
        if event.state == "rejected":
            log.warning("edit rejected: %s", event.reason)
        if not self._write(event, source):
            self._unwritten.append((event, source))

    def try_again(self) -> None:
        """Write what could not be written before."""
        for _ in range(len(self._unwritten)):
            event, source = self._unwritten.popleft()
            if not self._write(event, source):
                self._unwritten.append((event, source))

    def _write(self, event: Event, source: Path | None) -> bool:
        try:
            events.append(self._run, [event], durable=event.state == "rejected" or event.action is not None)
        except OSError as error:
            self._reason = str(error.strerror or error)
            return False
        if source is not None:
            remove(source)
        return True


def remove(source: Path) -> None:
    """Take a request's file out of the inbox; what cannot be removed (a directory) stays and is known by its id."""
    with contextlib.suppress(OSError):
        os.unlink(source)
