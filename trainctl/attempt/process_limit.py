"""Messages for the case that the system starts no more processes or threads for a user."""

from __future__ import annotations

import os
import resource
import threading

from trainctl.errors import JobError


def why_no_process(error: OSError) -> str:
    """Say that fork failed and why, with the limit that is the usual reason; or that a program cannot be executed."""
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return f"fork failed ({os.strerror(error.errno) if error.errno else error}{_limit()})"


def start_thread(thread: threading.Thread, what: str) -> None:
    """Start a thread; the error says what it was for.

    Raises:
        JobError: the system starts no more threads.
    """
    try:
        thread.start()
    except RuntimeError as error:  # which Python raises, without the system's reason
        raise JobError(f"{what} cannot be started: no more threads{_limit()}") from error


def _limit() -> str:
    limit, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    return "" if limit == resource.RLIM_INFINITY else f"; `ulimit -u` allows this user {limit} processes and threads"
