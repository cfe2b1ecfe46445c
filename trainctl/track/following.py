"""Trackers beside a training: one thread each, which reads the files that the run writes anyway.

The queue between training and tracker is the run dir: the training thread does nothing for a tracker at all, and what a
dead server has not taken lies there until it is back, or until `trainctl sync`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
import weakref

from trainctl.attempt.attempt import Attempt
from trainctl.attempt.host import start_thread
from trainctl.errors import JobError
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status
from trainctl.track import net
from trainctl.track.feed import Feed, check, has_open_run
from trainctl.track.tensorboard import forget_open
from trainctl.track.tracker import said

log = logging.getLogger(__name__)

_LOOK_S = 0.5
_PATIENCE_S = 30.0  # for the first metric, before a run is opened: until then the task may have opened its own
_LONGEST_S = 30.0  # between two tries while a server is dead
_FAREWELL_S = 15.0  # for what is left at the end


def follow(attempt: Attempt, names: list[str]) -> None:
    """Let trackers follow a run until it has ended.

    Raises:
        SettingError: there is no such tracker, or its package is not installed.
    """
    check(names)
    net.forget()  # what an earlier run of this process had open
    followers = [TrackerThread(attempt.run, name, is_first=name == names[0]) for name in dict.fromkeys(names)]
    for follower in followers:
        follower.start()

    def stop() -> None:
        for follower in followers:
            follower.stop(attempt.status)
        deadline = time.monotonic() + _FAREWELL_S
        for follower in followers:
            follower.join(max(0.0, deadline - time.monotonic()))
        net.forget()
        forget_open()

    attempt.after_end(stop)
    # At exit Python removes temporary directories, by a handler that the first finalizer registers, and handlers run in
    # reverse order: W&B's client, started by a thread while the program ends, would lose the one that it starts with.
    weakref.finalize(attempt, int)
    attempt.watch_again()


class TrackerThread:
    """The thread of one tracker. An error in it is reported once, and never reaches the training."""

    def __init__(self, run: RunDir, name: str, *, is_first: bool) -> None:
        self._run, self._name, self._is_first = run, name, is_first
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"trainctl-{name}", daemon=True)
        self._ended: Status | None = None
        self._has_failed = False
        self._is_done = False
        self._was_open = False

    def start(self) -> None:
        try:
            start_thread(self._thread, f"the thread that tells {self._name} of this run")
        except JobError as error:
            log.warning("%s", error)

    def stop(self, ended: Status) -> None:
        """Ask for the last round; the status of the run has been written by then."""
        self._ended = ended
        self._stop.set()

    def join(self, seconds: float) -> None:
        """Wait for the last round, up to a time limit; the rest is left to `trainctl sync`."""
        begun = time.monotonic()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        if not self._is_done and not self._was_open and not self._thread.is_alive():
            self._is_done = self._leave_to_another(seconds - (time.monotonic() - begun))
        if not self._is_done:
            self._has_failed = True  # what it says from now on, while the program ends, is known
            log.warning("%s has not got all of this run; it is sent by: trainctl sync %s", self._name, self._run.path)

    def _leave_to_another(self, seconds: float) -> bool:
        """Let another process send all of a run that was too short: a program that ends can open nothing any more."""
        command = [sys.executable, "-m", "trainctl.track.sync", str(self._run.path), self._name]
        environment = {**os.environ, **(net.place_in_environment() if self._name == "mlflow" else {})}
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False, env=environment
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0

    def _work(self) -> None:
        try:
            feed = Feed(self._run, self._name, says_omitted=self._is_first)
            if not feed.take():
                log.warning("%s is being sent this run by another process already", self._name)
                self._is_done = True
                return
        except OSError as error:
            log.warning("%s is not told of this run: %s", self._name, error)
            self._is_done = True
            return
        try:
            with contextlib.suppress(Exception):  # it is reported when the run is opened
                feed.load()
            self._wait_for_training()
            self._follow(feed)
        finally:
            feed.close()

    def _wait_for_training(self) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not self._stop.is_set() and time.monotonic() < deadline:
            if self._has_metrics() or has_open_run(self._name):
                return
            self._stop.wait(_LOOK_S / 5)

    def _has_metrics(self) -> bool:
        try:
            return self._run.metrics.stat().st_size > 0
        except OSError:
            return False

    def _follow(self, feed: Feed) -> None:
        pause = _LOOK_S
        while True:
            is_last = self._stop.is_set()
            is_sent = self._try(feed, is_last=is_last)
            if is_last:
                self._is_done = is_sent
                self._was_open = feed.tracker is not None
                return
            pause = _LOOK_S if is_sent else min(2 * pause, _LONGEST_S)
            self._stop.wait(pause)

    def _try(self, feed: Feed, *, is_last: bool) -> bool:
        try:
            feed.round(is_last=is_last, ended=self._ended)
        except Exception as error:  # noqa: BLE001  # raised by the tracker's library, and training must not notice
            is_too_late = feed.tracker is None and not threading.main_thread().is_alive()
            if not self._has_failed and not is_too_late:  # to begin with: another process does it
                log.warning("%s does not take this run for now: %s", self._name, said(error))
            self._has_failed = True
            return False
        if self._has_failed:
            log.info("%s takes this run again", self._name)
        self._has_failed = False
        return True
