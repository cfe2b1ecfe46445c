"""The slots of a launcher: which are free, and whether a job may have one now."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from trainctl.launch.slots import Slot


class SlotPool:
    """Hands out slots in the order in which they became free."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = list(slots)
        self._free = deque(slots)

    @property
    def free(self) -> int:
        """How many slots no job of ours holds."""
        return len(self._free)

    @property
    def look_again_s(self) -> float | None:
        """Seconds after which `take` may succeed though nothing was given back; None when only that can help."""
        return None

    def take(self) -> Slot | None:
        """Return a slot for one job; None when no job may have one now."""
        return self._free.popleft() if self._free else None

    def give_back(self, slot: Slot) -> None:
        """Take a slot back when nothing of its job is left."""
        self._free.append(slot)
