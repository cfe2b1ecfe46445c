"""Waiting for what another process or thread does: for a condition, with a deadline that a busy machine can keep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def wait_until(condition: Callable[[], Any], what: str = "the condition", deadline_s: float = 60) -> Any:
    """Wait for a condition and return what it returned; fail when the deadline passes.

    It is looked at less often the longer it takes: a look may be at all processes, or a question to a browser.
    """
    began = time.monotonic()
    while not (value := condition()):
        waited = time.monotonic() - began
        if waited > deadline_s:
            raise AssertionError(f"waited {deadline_s} s in vain: {what}")
        time.sleep(min(0.1, max(0.01, waited / 20)))
    return value
