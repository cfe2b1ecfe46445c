"""Starts the page's server again, once, when it was killed or hangs: a thread of the trainer that nearly only waits.

How long a server that does not answer is waited for: one that builds a page is spared, one that hangs is not.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from trainctl.panel.server.handle import PanelHandle, find
from trainctl.panel.server.shutdown import end_hung
from trainctl.panel.server.state import ServerRecord

BUSY_S = 300.0  # no page takes so long


class Patience:
    """Tells work from hanging by the processor time of the server's main thread, in which its loop runs.

    While it builds a page that thread takes some, however little a busy machine gives it. When it is stopped, or waits
    for what will not come, it takes none, whatever the server's other threads do. Without end it may take some only
    where something is wrong: that has a bound.

    Args:
        pid: the server's process.
        idle_s: seconds without an answer and without work after which there is no patience left.
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


log = logging.getLogger("trainctl")

LOOK_S = 3.0  # between two looks
HUNG_S = 60.0  # a server that neither answers nor works for so long hangs; one that has stepped back may be slow
BEGIN_S = 300.0  # until its first answer: it may have much to load from a slow disk
ASK_S = 1.0  # between two looks at what a server does that does not answer


class Guard(threading.Thread):
    """Looks now and then whether the server lives and answers, for as long as the page is used.

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
        """Look no more."""
        self._over.set()

    def run(self) -> None:
        """Look until the page is not used any more, or its second server has ended too."""
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
            return None  # another one by now: the next look is at that
        waited_s = time.monotonic() - began
        return f"the page's server did not answer for {waited_s:.0f} s" if end_hung(self._page.place, record) else None


def answers(url: str, patience: Patience, over: threading.Event) -> bool:
    """Whether a server says anything at all while there is patience; one that refuses or is gone does not hang."""
    parts = urlsplit(url)
    while not over.is_set():
        try:
            with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=ASK_S) as plain:
                return _is_answered(plain, patience, over, by_tls=parts.scheme == "https")
        except TimeoutError:  # its queue is full
            if patience.is_over():
                return False
        except OSError:
            return True  # the next look will find out
    return True


def _is_answered(plain: socket.socket, patience: Patience, over: threading.Event, *, by_tls: bool) -> bool:
    """Ask once, and wait on this one connection: who asks again and again fills the queue of a server that is busy."""
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
    """Speak TLS without asking with whom, as nothing secret is sent; return what speaks it, and how it begins."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = context.wrap_socket(plain, do_handshake_on_connect=False)
    return connection, [connection.do_handshake]
