"""Who follows a run from beside it: the trackers that its config names."""

from __future__ import annotations

import importlib

from trainctl.attempt.attempt import Attempt

_ROOM = "trainctl.track.following"  # by name, as a plug-in: that room lies above this one, and is loaded only if named


def follow(attempt: Attempt) -> None:
    """Let the trackers of `trainctl.track` follow a run until its end.

    Raises:
        SettingError: there is no such tracker, or its package is not installed.
    """
    if attempt.settings.track:
        importlib.import_module(_ROOM).follow(attempt, attempt.settings.track)
