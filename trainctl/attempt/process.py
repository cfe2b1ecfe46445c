"""The only place that remembers the run of this process: its reservation, its attempt, its live session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class OwnRun:
    """The parts of the run. A forked child inherits them, so each is read through the module that sets it.

    Attributes:
        reservation: the run dir taken for an attempt that has not begun; `attempt.reservation.is_waiting`.
        attempt: `attempt.attempt.current()`.
        session: the live session, which is left here when its attempt has ended; `session.api.current()`.
    """

    reservation: Any = None
    attempt: Any = None
    session: Any = None


own = OwnRun()
