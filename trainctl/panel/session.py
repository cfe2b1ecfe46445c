"""What one browser's session does over and over while it is open."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import panel


def tick_while_open(tick: Callable[[], None], interval_ms: int, open_things: ExitStack) -> None:
    """Call `tick` while the page is open in a browser, and close `open_things` when it is closed.

    The first tick comes when the browser has drawn the page: updates before that leave widgets with old values.
    """
    callbacks: list[Any] = []

    def loaded() -> None:
        callbacks.append(panel.state.add_periodic_callback(tick, period=interval_ms))

    def destroyed(_context: Any) -> None:
        open_things.close()

    panel.state.onload(loaded)
    panel.state.on_session_destroyed(destroyed)
