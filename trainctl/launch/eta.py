"""When a sweep will be over, by what its jobs took so far."""

from __future__ import annotations

from collections.abc import Sequence


def remaining_s(
    finished_s: float | None, running: Sequence[tuple[float, float | None]], waiting: int, slots: int
) -> float | None:
    """Estimate the seconds until the last job ends; None while nothing is known that tells.

    A job takes as long as the mean of those that are done, or, before any is, as the running ones that know how
    far they are. The work is shared evenly by the slots, and nothing ends before the longest running job does.

    Args:
        finished_s: the mean duration of the jobs that are done; None when there are none.
        running: per running job how long it has been running, and how long it will by its own count, if it knows.
        waiting: how many jobs have not started.
        slots: how many jobs run at a time.

    >>> remaining_s(10.0, [(4.0, None), (6.0, 3.0)], waiting=4, slots=2)
    24.5
    >>> remaining_s(None, [(5.0, 15.0)], waiting=1, slots=1)
    35.0
    >>> remaining_s(None, [(5.0, None)], waiting=0, slots=1)
    """
    known = [elapsed + left for elapsed, left in running if left is not None]
    if finished_s is None:
        if not known:
            return None
        finished_s = sum(known) / len(known)
    each = [max(0.0, finished_s - elapsed) if left is None else left for elapsed, left in running]
    if not each and not waiting:
        return 0.0
    return max([(sum(each) + waiting * finished_s) / max(1, slots), *each])
