"""The session where no run is recorded: in a project's unit tests, or in a plain script."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

from trainctl.session.live import Live
from trainctl.session.schedule import NEVER
from trainctl.session.values import Now


class IdleLive(Live):
    """Counts steps and shows the config's values; takes no edits, binds and records nothing, and `is_open` is false.

    So a function that trains, or a module that calls `trainctl.current().bind(…)`, runs in a unit test as it is. The
    seed is `trainctl.seed`, else 0.
    """

    __slots__ = ()

    def __init__(self, config: DictConfig) -> None:
        """Raises SettingError: a setting of `trainctl:` is wrong."""
        super().__init__(config, None)
        self._member = self._engine = None
        self._has_joined, self._next = True, NEVER
        if self.seed is None:
            self.seed = 0

    def add_binding(self, apply: Callable[[Now], object]) -> None:
        """Do nothing: there are no edits to follow."""

    def bind(self, target: Any, *path: str, **options: Any) -> Any:
        """Return a binding that does nothing; the config need not have the keys."""
        return _unbound


def _unbound(now: Now) -> None:
    """Set nothing."""
