"""Waiting for what another process or thread does: for a condition, with a deadline that a busy machine can keep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def wait_until(condition: Callable[[], Any], what: str = "the condition", deadline_s: float = 60) -> Any:
    """Wait for a condition and return what it returned; fail when the deadline passes."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline_s} s in vain: {what}")
        time.sleep(0.01)
    return value
