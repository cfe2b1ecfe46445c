"""Ending a job's process."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
from typing import Any, NoReturn

from trainctl.launch.local import linux
from trainctl.launch.local.channel import Channel
from trainctl.launch.slots.host_locks import let_go


class Remains:
    """What a task has left behind in its process, and so whether it still needs its slot after it has returned."""

    def __init__(self) -> None:
        self._exit_hooks = _count_exit_hooks()

    def are_none(self) -> bool:
        """Whether nothing of the task will run any more, and nothing outlives this process.

        That is: no thread and no exit hook since this was made, no children, and no hold on a device.
        """
        return threading.active_count() == 1 and _count_exit_hooks() <= self._exit_hooks and not _holds_anything()


def _count_exit_hooks() -> int:
    count: Any = getattr(atexit, "_ncallbacks", None)  # private, there since 3.4
    return -1 if count is None else count()


def leave(code: int, channel: Channel, *, is_idle: bool = False) -> NoReturn:
    """End the process as the interpreter would, without unwinding the frames of the launcher's program.

    Before that, when all went well and nothing of a device is held, say `leaving`: what is left is the kernel's
    clearing up of memory, which takes longer than the start of the next job.

    Args:
        code: of the process.
        channel: to the launcher.
        is_idle: nothing was left of the task (`Remains`).
    """
    with contextlib.suppress(BaseException):  # each step may fail in code that is not ours; the process ends anyway
        _shut_down_threads()
        atexit._run_exitfuncs()
    with contextlib.suppress(BaseException):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    with contextlib.suppress(BaseException):
        if code == 0 and (is_idle or not _holds_anything()):
            let_go()
            channel.send("leaving")
    os._exit(code)


def _holds_anything() -> bool:
    """Whether something outlives this process: children, or a device that it holds."""
    return bool(linux.children()) or linux.holds_device()


def _shut_down_threads() -> None:
    join: Any = getattr(threading, "_shutdown", None)
    if join is not None:
        join()
