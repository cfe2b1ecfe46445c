"""What the loops of `live.track` say about the step at which a training will be done."""

from __future__ import annotations


class Loop:
    """One `live.track` that goes round.

    Args:
        first: the step before its first item.
        length: how many items it has; None when it is not known.
    """

    def __init__(self, first: int, length: int | None) -> None:
        self.length = length
        self.items = 0
        self._first = self._began = first
        self._each: int | None = None  # steps that each item has taken until now
        self._is_even = True

    def begin_item(self, step: int) -> None:
        """Note that the next item begins, at this step."""
        if self.items:
            each = step - self._began
            self._is_even = self._is_even and self._each in (None, each)
            self._each = each
        self._began = step
        self.items += 1

    def last_step(self, step: int) -> int | None:
        """Return the step at which this loop will end; None unless all items take equally many steps, as far as seen.

        An item takes more than one when loops within it count steps too: one epoch tells how many.
        """
        each, within = self._each or 1, step - self._began
        if self.length is None or not self._is_even or within >= each:
            return None
        return self._first + self.length * each


class Loops:
    """Where a training ends, as its outermost loop tells; one of several loops, such as an epoch, does not tell."""

    def __init__(self) -> None:
        self._open: list[Loop] = []
        self._outer: Loop | None = None
        self._is_one_of_several = False

    def begin(self, step: int, length: int | None) -> Loop:
        """Begin a loop after `step`."""
        loop = Loop(step, length)
        if not self._open:
            self._is_one_of_several = self._is_one_of_several or self._outer is not None
            self._outer = loop
        self._open.append(loop)
        return loop

    def end(self, loop: Loop) -> None:
        """End a loop: all items were taken, or somebody has left it."""
        self._open.remove(loop)

    def note_epoch(self) -> None:
        """Note that an epoch begins: outside of all loops it means that the loops to come are epochs."""
        if not self._open:
            self._is_one_of_several = True

    def total(self, step: int) -> int | None:
        """Return the last step of the training, `step` being the one that runs; None when the loops do not tell."""
        outer = self._outer
        return None if outer is None or self._is_one_of_several else outer.last_step(step)
