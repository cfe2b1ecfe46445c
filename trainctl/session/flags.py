"""What a training loop is asked to do by itself: it looks when it likes, and nothing is forgotten until it has."""

from __future__ import annotations


class Flag:
    """Up from the step at which it is raised until the end of the first step in which the loop has looked at it.

    So a loop that looks at every hundredth step sees it, one that looks twice in a step sees it twice, and none sees it
    in two steps.
    """

    __slots__ = ("_is_up", "looks", "seen", "times", "was_looked_at")

    def __init__(self) -> None:
        self._is_up = False
        self.seen: int | None = None
        self.was_looked_at = False
        self.times = 0  # how often it was put up
        self.looks: list[tuple[int, int]] = []  # each first look while it was up: that number, and the step

    def put_up(self) -> None:
        """Ask again; asked twice before the loop has looked, it is told once."""
        self._is_up = True
        self.seen = None
        self.times += 1

    def look(self, step: int) -> bool:
        """Return whether it is up for the loop, which is at `step`; a first look while it is up is noted in `seen`."""
        self.was_looked_at = True
        if self._is_up and self.seen is None:
            self.seen = step
            self.looks.append((self.times, step))
        self._is_up = self._is_up and self.seen == step
        return self._is_up


class Flags:
    """All that a loop may be asked: `stop` stays, the others are asked for again each time."""

    __slots__ = ("checkpoint", "evaluate", "looks_at_stop", "stop", "stop_seen")

    def __init__(self) -> None:
        self.stop = False
        self.looks_at_stop = False
        self.stop_seen: int | None = None  # the step in which the loop first saw it
        self.checkpoint = Flag()
        self.evaluate = Flag()

    def look_at_stop(self, step: int) -> bool:
        """Return `stop` for the loop, which is at `step`."""
        self.looks_at_stop = True
        if self.stop and self.stop_seen is None:
            self.stop_seen = step
        return self.stop

    @property
    def looked_at(self) -> tuple[str, ...]:
        """What the loop has looked at, and so can be asked for."""
        flags = {"checkpoint": self.checkpoint.was_looked_at, "evaluate": self.evaluate.was_looked_at}
        return tuple(name for name, was in {**flags, "stop": self.looks_at_stop}.items() if was)
