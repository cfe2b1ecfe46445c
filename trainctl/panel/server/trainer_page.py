"""The page beside a program that trains: started or found where the program begins, guarded, left where it ends."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainctl.attempt.host import start_thread
from trainctl.config.settings import Settings
from trainctl.errors import JobError
from trainctl.panel.server import handle
from trainctl.panel.server.launch import ways_from_elsewhere
from trainctl.panel.server.watchdog import Guard
from trainctl.rundir.lock import keep_in
from trainctl.rundir.provenance import relative_to

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Shown:
    """The page of this process, and the thread that starts its server again."""

    page: handle.PanelHandle | None = None
    guard: Guard | None = None


_shown = _Shown()
_told_at_the_end: dict[Path, Callable[[], None]] = {}  # by root, each once


def show(root: Path, settings: Settings) -> None:
    """Start or find the page's server, and say where it is; a server that cannot be had never stops training.

    Raises:
        TrainctlError: a setting of the page is not allowed.
    """
    try:
        keep_in(settings.locks)
        _shown.page = handle.ensure(root, settings.panel)
    except OSError as error:
        log.warning("there is no page: %s", error)
    if _shown.page is not None:
        sys.stderr.write(f"page: {_shown.page.url}\n")
        for line in ways_from_elsewhere(settings.panel, _shown.page.url):
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
        atexit.register(leave)
    if settings.panel.enabled:
        _tell_at_the_end(root)


def _tell_at_the_end(root: Path) -> None:
    """Have the program's last line say how the page is shown again, however the program ends.

    Exit hooks run in reverse: one that is there before the task is called runs after all that the task leaves behind.
    """
    shown, pid = relative_to(root.absolute(), Path.cwd()), os.getpid()

    def tell() -> None:
        if os.getpid() == pid and sys.stderr is not None:  # a forked child has the hook too
            with contextlib.suppress(OSError, ValueError):  # a terminal that is gone
                sys.stderr.write(f"trainctl panel {shlex.quote(shown)}\n")
                sys.stderr.flush()

    atexit.unregister(_told_at_the_end.pop(root, tell))
    _told_at_the_end[root] = tell
    atexit.register(tell)


def guard() -> None:
    """Have the page's server started again, once, if it is killed or hangs."""
    if _shown.page is not None:
        _shown.guard = Guard(_shown.page)
        try:
            start_thread(_shown.guard, "the thread that starts the page's server again should it end")
        except JobError as error:
            log.warning("%s", error)


def leave() -> None:
    """Give the page up: its server ends a while after its last user."""
    if _shown.guard is not None:
        _shown.guard.close()
        _shown.guard = None
    if _shown.page is not None:
        _shown.page.close()
        _shown.page = None
