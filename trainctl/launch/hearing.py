"""What the launcher's loop waits for: jobs, hosts, and whatever else has a descriptor; each is made known once."""

from __future__ import annotations

import contextlib
import selectors
from collections.abc import Iterable
from typing import Any


class Hearing:
    """A selector that knows from one wait to the next what to listen to."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._sets: dict[str, dict[int, Any]] = {}

    def add(self, descriptor: int, source: Any) -> None:
        """Listen to something from now on."""
        with contextlib.suppress(KeyError):  # a number that was another's, which has closed it
            self._selector.unregister(descriptor)
        self._selector.register(descriptor, selectors.EVENT_READ, source)

    def drop(self, descriptor: int) -> None:
        """Listen to it no more; to be called before it is closed."""
        with contextlib.suppress(KeyError, ValueError, OSError):
            self._selector.unregister(descriptor)

    def keep(self, name: str, sources: Iterable[tuple[int, Any]]) -> None:
        """Listen to these of a kind, and to no others of that kind.

        A descriptor may pass from one kind to another; and where several have one source, a number that was closed may
        be that of a new one.
        """
        known, wanted = self._sets.get(name, {}), dict(sources)
        registered = self._selector.get_map()
        for descriptor in known.keys() - wanted.keys():
            if descriptor in registered and registered[descriptor].data is known[descriptor]:
                self.drop(descriptor)
        is_shared = len({id(source) for source in wanted.values()}) < len(wanted)
        for descriptor, source in wanted.items():
            if is_shared or descriptor not in registered or registered[descriptor].data is not source:
                self.add(descriptor, source)
        self._sets[name] = wanted

    def wait(self, seconds: float | None) -> list[Any]:
        """Return what can be heard; nothing once so many seconds have passed."""
        return [key.data for key, _ in self._selector.select(None if seconds is None else max(0.0, seconds))]

    def close(self) -> None:
        self._selector.close()
