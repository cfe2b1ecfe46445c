"""Who hears of an edit once it has changed the config."""

from __future__ import annotations

from collections.abc import Callable

from trainctl.config.changelog import Edit
from trainctl.session.values import Now

Hook = Callable[[Edit], object]


class Listeners:
    """Tells of an edit in one order: the other ranks, `live.now`, the bindings, the hooks of the task.

    Args:
        show: takes the new `live.now`.

    Attributes:
        tell: tells the other ranks, before the task's own code runs here: it may wait for them.
        bindings, hooks: the task's, in the order in which it has added them.
    """

    def __init__(self, show: Callable[[Now], object]) -> None:
        self._show = show
        self.tell: Callable[[Edit], object] = lambda _: None
        self.bindings: list[Callable[[Now], object]] = []
        self.hooks: list[Hook] = []

    def hear(self, edit: Edit, told: Edit, now: Now) -> None:
        """Tell all of them; hooks are not called for a resume that has changed nothing.

        Args:
            edit: what has changed.
            told: the same for the hooks, which may note what they take of it.
            now: the new values.
        """
        self.tell(edit)
        self._show(now)
        for apply in self.bindings:
            apply(now)
        for hook in self.hooks if edit.values else ():
            hook(told)
