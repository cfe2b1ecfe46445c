"""How often something may be asked for: many times at once, then so often a second."""

from __future__ import annotations

import time


class Bucket:
    """Holds `size` turns and gets `per_s` back each second.

    >>> bucket = Bucket(2, 0.0)
    >>> [bucket.take() for _ in range(3)]
    [True, True, False]
    """

    def __init__(self, size: float, per_s: float) -> None:
        self._size, self._per_s = size, per_s
        self._left = size
        self._seen = time.monotonic()

    def take(self) -> bool:
        """Take a turn; False when none is left."""
        now = time.monotonic()
        self._left = min(self._size, self._left + (now - self._seen) * self._per_s)
        self._seen = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
