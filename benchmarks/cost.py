"""Nanoseconds per call. Only the standard library: rivals are measured by it too, in environments of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

ROUNDS = 15


def cost_ns(calls: Mapping[str, Callable[[], object]], *, round_s: float = 0.02) -> dict[str, float]:
    """Return what each call takes in a plain loop, the loop itself taken off, by name: the least of many rounds.

    The rounds of all calls alternate, so that what disturbs the machine for a while disturbs all of them. What a thread
    of theirs does meanwhile counts, as far as it holds the call up.
    """
    counts = {name: _count(call, round_s) for name, call in calls.items()}
    loops, found = dict.fromkeys(calls, float("inf")), dict.fromkeys(calls, float("inf"))
    for _ in range(ROUNDS):
        for name, call in calls.items():
            loop, whole = _round_ns(call, counts[name])
            loops[name], found[name] = min(loops[name], loop), min(found[name], whole)
    return {name: found[name] - loops[name] for name in calls}


def _count(call: Callable[[], object], round_s: float) -> int:
    """Return how many calls take about so many seconds."""
    began = time.perf_counter()
    call()
    once = time.perf_counter() - began
    if once < round_s / 100:
        once = max(_round_ns(call, 100)[1] / 1e9, 1e-8)
    return max(1, int(round_s / once))


def _round_ns(call: Callable[[], object], count: int) -> tuple[float, float]:
    """Return what a turn of an empty loop takes, and one of a loop with the call."""
    began = time.perf_counter_ns()
    for _ in range(count):
        pass
    empty = time.perf_counter_ns()
    for _ in range(count):
        call()
    return (empty - began) / count, (time.perf_counter_ns() - empty) / count
