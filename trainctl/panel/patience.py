"""How long a server that does not answer is waited for: one that builds a page is spared, one that hangs is not."""

from __future__ import annotations

import time

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
        """Say whether the server hangs; to be asked again and again while it does not answer."""
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
