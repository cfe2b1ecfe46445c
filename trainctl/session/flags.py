"""The flags by which a training loop is asked to do something; each stays up until the loop has looked at it."""

from __future__ import annotations


class Flag:
    """A flag that stays up until the end of the first step in which the loop has looked at it.

    So a loop that looks every hundred steps sees it, a loop that looks twice in a step sees it twice, and no loop sees
    it in two steps.
    """

    __slots__ = ("_is_up", "looks", "seen", "times", "was_looked_at")

    def __init__(self) -> None:
        self._is_up = False
        self.seen: int | None = None
        self.was_looked_at = False
        self.times = 0  # how often it was put up
        self.looks: list[tuple[int, int]] = []  # each first look while it was up: that number, and the step

    def put_up(self) -> None:
        """Raise the flag; raised twice before the loop has looked, it is seen once."""
        self._is_up = True
        self.seen = None
        self.times += 1

    def look(self, step: int) -> bool:
        """Return whether the flag is up at `step`; the first look while it is up is noted in `seen`."""
        self.was_looked_at = True
        if self._is_up and self.seen is None:
            self.seen = step
            self.looks.append((self.times, step))
        self._is_up = self._is_up and self.seen == step
        return self._is_up


class Flags:
    """All flags of a loop: `stop` stays up, the others must be raised anew each time."""

    __slots__ = ("checkpoint", "evaluate", "looks_at_stop", "stop", "stop_seen")

    def __init__(self) -> None:
        self.stop = False
        self.looks_at_stop = False
        self.stop_seen: int | None = None  # the step in which the loop first saw it
        self.checkpoint = Flag()
        self.evaluate = Flag()

    def look_at_stop(self, step: int) -> bool:
        """Return `stop`, and note at which step the loop first saw it."""
        self.looks_at_stop = True
        if self.stop and self.stop_seen is None:
            self.stop_seen = step
        return self.stop

    @property
    def looked_at(self) -> tuple[str, ...]:
        """The flags that the loop has looked at, and so can be asked for."""
        flags = {"checkpoint": self.checkpoint.was_looked_at, "evaluate": self.evaluate.was_looked_at}
        return tuple(name for name, was in {**flags, "stop": self.looks_at_stop}.items() if was)
