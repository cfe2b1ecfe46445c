"""The page beside a program that trains: started or found when the program begins, guarded, released when it ends.

The guard restarts the server, once, if it was killed or hangs. A server that is busy building a page is left alone.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shlex
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from trainctl.attempt.host import start_thread
from trainctl.config.settings import Settings
from trainctl.errors import JobError
from trainctl.panel.server import handle
from trainctl.panel.server.handle import PanelHandle, find
from trainctl.panel.server.launch import ways_from_elsewhere
from trainctl.panel.server.lifetime import end_hung
from trainctl.panel.server.state import ServerRecord
from trainctl.rundir.lock import keep_in
from trainctl.rundir.paths import own_dir
from trainctl.rundir.provenance import relative_to

log = logging.getLogger("trainctl")

BUSY_S = 300.0  # no page takes so long to build
LOOK_S = 3.0  # between two checks
HUNG_S = 60.0  # a server that neither answers nor works for this long hangs; at its low priority it may be slow
BEGIN_S = 300.0  # until its first answer: it may have much to load from a slow disk
ASK_S = 1.0  # between two checks of a server that does not answer


class Patience:
    """Tells a busy server from a hung one by the CPU time of its main thread, in which its loop runs.

    While it builds a page that thread takes some, however little a busy machine gives it. When it is stopped, or waits
    for what will not come, it takes none, whatever the server's other threads do. Without end it may take some only
    where something is wrong: that has a bound.

    Args:
        pid: the server's process.
        idle_s: seconds without an answer and without work after which the page is taken to hang.
        busy_s: seconds without an answer after which there is none left at all.
    """

    def __init__(self, pid: int, idle_s: float, busy_s: float = BUSY_S) -> None:
        self._pid = pid
        self._idle_s = idle_s
        self._worked = time.monotonic()
        self._end = self._worked + max(idle_s, busy_s)
        self._used_s: float | None = None

    def is_over(self) -> bool:
        """Whether the server hangs; to be asked again and again while it does not answer."""
        now, used_s = time.monotonic(), _used_s(self._pid)
        if used_s != self._used_s:
            self._worked, self._used_s = now, used_s
        return now >= self._end or now - self._worked >= self._idle_s


def _used_s(pid: int) -> float | None:
    """Return the processor time of a process's main thread, or of it all on systems that do not tell threads by number.

    None when it cannot be known: then nothing is known to be work.
    """
    import psutil  # only once a server does not answer

    try:
        process = psutil.Process(pid)
        main = [thread for thread in process.threads() if thread.id == pid]
        if main:
            return float(main[0].user_time + main[0].system_time)
        times = process.cpu_times()
    except psutil.Error:
        return None
    return float(times.user + times.system)


class Guard(threading.Thread):
    """Checks every few seconds that the server lives and answers, for as long as the page is used.

    Args:
        handle: the use of the page that is guarded.
        look_s: seconds between two looks.
        hung_s: seconds without an answer and without work after which a server that has answered before is ended.
    """

    def __init__(self, handle: PanelHandle, *, look_s: float = LOOK_S, hung_s: float = HUNG_S) -> None:
        super().__init__(name="trainctl-guard", daemon=True)
        self._page = handle
        self._look_s = look_s
        self._hung_s = hung_s
        self._answered: ServerRecord | None = None
        self._over = threading.Event()

    @property
    def has_answered(self) -> bool:
        """Whether the server has answered once: from then on it is known to hang when it does not."""
        return self._answered is not None

    def close(self) -> None:
        """Stop checking."""
        self._over.set()

    def run(self) -> None:
        """Check until the page is no longer used, or its second server has ended too."""
        is_first = True
        while not self._over.wait(self._look_s):
            if (what := self._wrong()) is None:
                continue
            try:
                if self._over.is_set() or not self._page.start_again():
                    break
            except OSError as error:
                log.warning("%s, and cannot be started again: %s; training goes on without it", what, error)
                return
            if is_first:
                log.warning("%s; it was started again, its log is %s", what, self._page.log)
            is_first = False
        if not self._over.is_set() and self._page.is_used:
            log.warning("%s again, training goes on without it; its log is %s", self._page.why_ended(), self._page.log)

    def _wrong(self) -> str | None:
        """Say what is wrong with the server; one that hangs is ended here. None when it answers."""
        root = self._page.place.root
        record = find(root)
        if record is None:
            return self._page.why_ended()
        if record.host != socket.gethostname():
            return None
        began = time.monotonic()
        patience = Patience(record.pid, self._hung_s if self._answered == record else BEGIN_S)
        if answers(record.url, patience, self._over):
            self._answered = record
            return None
        if self._over.is_set() or find(root) != record:
            return None  # another one by now: the next check is about that
        waited_s = time.monotonic() - began
        return f"the page's server did not answer for {waited_s:.0f} s" if end_hung(self._page.place, record) else None


def answers(url: str, patience: Patience, over: threading.Event) -> bool:
    """Whether a server answers at all within the patience; one that refuses or is gone does not hang."""
    parts = urlsplit(url)
    while not over.is_set():
        try:
            with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=ASK_S) as plain:
                return _is_answered(plain, patience, over, by_tls=parts.scheme == "https")
        except TimeoutError:  # its queue is full
            if patience.is_over():
                return False
        except OSError:
            return True  # the next check will tell
    return True


def _is_answered(plain: socket.socket, patience: Patience, over: threading.Event, *, by_tls: bool) -> bool:
    """Ask once, and wait on this one connection: asking again and again would fill the queue of a busy server."""
    connection, steps = _by_tls(plain) if by_tls else (plain, [])
    steps += [lambda: connection.sendall(b"HEAD / HTTP/1.0\r\n\r\n"), lambda: connection.recv(1)]
    with connection:
        for step in steps:
            while not over.is_set():
                try:
                    step()
                    break
                except TimeoutError:
                    if patience.is_over():
                        return False
    return True


def _by_tls(plain: socket.socket) -> tuple[socket.socket, list[Callable[[], object]]]:
    """Return a TLS connection and its first step; the certificate is not checked, as nothing secret is sent."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = context.wrap_socket(plain, do_handshake_on_connect=False)
    return connection, [connection.do_handshake]


@dataclass(slots=True)
class _Shown:
    """The page of this process, and the thread that starts its server again."""

    page: handle.PanelHandle | None = None
    guard: Guard | None = None


_shown = _Shown()
_told_at_the_end: dict[Path, Callable[[], None]] = {}  # by root, each once


def show(root: Path, settings: Settings) -> None:
    """Start or find the page's server, and print its address; training goes on if there can be none.

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
    """Make the command that shows the page again the program's last line, however the program ends, if it began a run.

    Exit hooks run in reverse: one that is there before the task is called runs after all that the task leaves behind.
    """
    shown, pid = relative_to(root.absolute(), Path.cwd()), os.getpid()

    def tell() -> None:
        if os.getpid() == pid and sys.stderr is not None:  # a forked child has the hook too
            with contextlib.suppress(OSError, ValueError):  # a terminal that is gone, or the directory
                if set(os.listdir(root)) <= {own_dir(root).name, "multirun.yaml"}:
                    return  # a sweep that was refused
                sys.stderr.write(f"trainctl panel {shlex.quote(shown)}\n")
                sys.stderr.flush()

    atexit.unregister(_told_at_the_end.pop(root, tell))
    _told_at_the_end[root] = tell
    atexit.register(tell)


def guard() -> None:
    """Restart the page's server, once, if it is killed or hangs."""
    if _shown.page is not None:
        _shown.guard = Guard(_shown.page)
        try:
            start_thread(_shown.guard, "the thread that starts the page's server again should it end")
        except JobError as error:
            log.warning("%s", error)


def leave() -> None:
    """Release the page: its server ends a while after its last user."""
    if _shown.guard is not None:
        _shown.guard.close()
        _shown.guard = None
    if _shown.page is not None:
        _shown.page.close()
        _shown.page = None
