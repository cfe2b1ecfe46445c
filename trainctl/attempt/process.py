"""The run of this process: a run dir is taken, an attempt begins in it, a live session opens. Remembered here alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class OwnRun:
    """What of the run is there. A forked child has its parent's, so each is asked for through the room that sets it.

    Attributes:
        reservation: the run dir taken for an attempt that has not begun; `attempt.reservation.is_waiting`.
        attempt: `attempt.attempt.current()`.
        session: the live session, which is left here when its attempt has ended; `session.api.current()`.
    """

    reservation: Any = None
    attempt: Any = None
    session: Any = None


own = OwnRun()
