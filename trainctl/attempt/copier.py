"""Copies what a run prints to its log file and to its terminal. Run as a script: `copier.py LOG SOURCE:TARGET …`.

All arguments are inherited file descriptors. Standard library only, and no import of trainctl: it starts at once.
"""

from __future__ import annotations

import os
import select
import signal
import sys


def copy(log: int, pairs: dict[int, int]) -> None:
    """Copy each source to the log and to its target until all are closed; a dead target or log is passed over."""
    poll = select.poll()
    for source in pairs:
        poll.register(source, select.POLLIN)
    while pairs:
        for source, _ in poll.poll():
            try:
                data = os.read(source, 1 << 16)
            except OSError:  # a pseudo terminal whose last writer is gone
                data = b""
            if not data:
                poll.unregister(source)
                del pairs[source]
                continue
            for target in (log, pairs[source]):
                write(target, data)


def write(target: int, data: bytes) -> None:
    """Write all of it if that is possible: a full disk or a closed terminal must not stop the other copy."""
    try:
        while data:
            data = data[os.write(target, data) :]
    except OSError:
        return


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)  # meant for the run; we end when it has closed its side
    copy(
        int(sys.argv[1]),
        {int(source): int(target) for source, target in (pair.split(":") for pair in sys.argv[2:])},
    )
