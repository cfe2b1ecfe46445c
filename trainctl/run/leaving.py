"""Ending a process with another exit code than Python has already chosen, from an exit handler."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import weakref
from typing import Any, NoReturn


def leave_with(code: int) -> NoReturn:
    """End the process now.

    Exit handlers that were registered before ours do not run any more, so what the standard library registers is done
    here: child processes, temporary directories, log handlers, open streams.
    """
    for end in (_end_children, _finalize, logging.shutdown, sys.stdout.flush, sys.stderr.flush):
        with contextlib.suppress(Exception):  # each may fail in code that is not ours; the process ends anyway
            end()
    os._exit(code)


def _end_children() -> None:
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:
        util._exit_function()


def _finalize() -> None:
    finalize: Any = weakref.finalize
    finalize._exitfunc()
