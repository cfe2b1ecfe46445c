"""End a page's server from outside: one that nobody uses, or one that hangs. Light: nothing here loads panel."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time

from trainctl.panel.server.state import PanelDir, ServerRecord
from trainctl.rundir.lock import is_locked

USERS_S = 0.2  # the server itself takes the users' lock for a moment now and then
TERM_S = 15.0  # for a server to end in order: it has stepped back, and the machine may be busy
KILL_S = 30.0  # for a killed process to be gone


def end_unused(place: PanelDir, record: ServerRecord) -> bool:
    """End the server of a record unless somebody uses it; say whether it is gone.

    The users' lock is held meanwhile, so whoever comes waits for the end, and then starts a server.
    """
    users = place.lock(place.users_lock, fcntl.LOCK_EX, patience_s=USERS_S)
    if users is None:
        return False
    try:
        if place.read_record() != record or not is_server(record):
            return False
        place.forget()
        return _signal(place, record, signal.SIGTERM, TERM_S) or _signal(place, record, signal.SIGKILL, KILL_S)
    finally:
        os.close(users)


def end_hung(place: PanelDir, record: ServerRecord) -> bool:
    """Kill a server that hangs; say whether it is gone. False if no server has that pid, or it cannot be killed."""
    return is_server(record) and _signal(place, record, signal.SIGKILL, KILL_S)


def is_server(record: ServerRecord) -> bool:
    """Whether the process of a record is a page's server: while one is being made it is the one that makes it."""
    import psutil  # for these rare cases only

    try:
        return record.is_alive() and psutil.Process(record.pid).cmdline()[1:3] == ["-m", "trainctl.panel"]
    except (psutil.Error, OSError):
        return False


def _signal(place: PanelDir, record: ServerRecord, number: signal.Signals, patience_s: float) -> bool:
    """Send a signal and wait for the end: the server's lock is free, or another server has it by now.

    The process may be a zombie of ours for longer.
    """
    if is_server(record):
        with contextlib.suppress(OSError):
            os.kill(record.pid, number)
    deadline = time.monotonic() + patience_s
    while is_locked(place.server_lock) and place.read_record() in (None, record):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True
