"""What is known to change later in a run: the edits of the run that it replays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainctl.config.changelog import Changelog
from trainctl.config.masking import Masking
from trainctl.errors import ChangelogError
from trainctl.run.schedule import plan, read_replay


@dataclass(frozen=True, slots=True)
class Ahead:
    """One edit to come."""

    step: int
    values: dict[str, Any]
    source: str


def edits_ahead(log: Changelog, cwd: Any, now: int | None, masking: Masking) -> list[Ahead]:
    """Return the replayed edits after step `now`, secrets masked; none when the run replays nothing that is there."""
    settings = log.base.get("trainctl")
    source = settings.get("replay") if isinstance(settings, Mapping) else None
    if not isinstance(source, str) or not isinstance(settings, Mapping):
        return []
    mode = str(settings.get("replay_mode", "refuse"))
    try:
        replay = read_replay(Path(str(cwd or ".")) / Path(source).expanduser())
        left = plan(log, "", replay, source, mode=mode).left
    except (ChangelogError, OSError, RuntimeError):
        return []  # moved away since: the run has read it, the page can't
    return [
        Ahead(one.step, masking.values(one.edit.values), source)
        for one in left
        if not one.is_recorded and one.step > (now or 0)
    ]
