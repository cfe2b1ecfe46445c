"""The last moments of a job's process."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
from typing import Any, NoReturn

from trainctl.launch import linux
from trainctl.launch.channel import Channel


def leave(code: int, channel: Channel) -> NoReturn:
    """End the process as the interpreter would, but never through the frames of the launcher's program below us.

    Before that, when all went well and nothing of a device is held, say `leaving`: what is left is the kernel's
    clearing up of memory, which takes longer than the start of the next job.
    """
    with contextlib.suppress(BaseException):  # each step may fail in code that is not ours; the process ends anyway
        _shut_down_threads()
        atexit._run_exitfuncs()
    with contextlib.suppress(BaseException):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    with contextlib.suppress(BaseException):
        if code == 0 and not _holds_anything():
            channel.send("leaving")
    os._exit(code)


def _holds_anything() -> bool:
    """Say whether something is left that ends only after us: children, or our hold on a device."""
    return bool(linux.children()) or linux.holds_device()


def _shut_down_threads() -> None:
    join: Any = getattr(threading, "_shutdown", None)
    if join is not None:
        join()
