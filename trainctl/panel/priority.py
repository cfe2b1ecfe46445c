"""How the server steps back behind the training: a low priority, within its session and of its session."""

from __future__ import annotations

import contextlib
import os

NICENESS = 10  # a tenth of what a training process gets that wants the same core; less, and nobody could open a page
OF_SESSION = 5  # a third of what the training's session gets: it may be one of many sessions that want the same core


def step_back() -> None:
    """Go down to `NICENESS`; never up, which only root may."""
    os.nice(max(0, NICENESS - os.nice(0)))


def step_back_as_session() -> None:
    """Let the session go down too.

    Where Linux groups processes by session, a niceness counts within its session only, and the server has its own.
    """
    # no Linux, no such groups, or set too often: then only the process has stepped back
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as file:
        file.write(str(OF_SESSION))
