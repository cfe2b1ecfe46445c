"""The edits that are known beforehand: of a replayed run, and of earlier attempts of this one."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trainctl.config.changelog import Changelog, Edit, loads, merge
from trainctl.errors import ChangelogError
from trainctl.run.rundir import RunDir

NEVER = sys.maxsize  # no step is later


@dataclass(frozen=True, slots=True)
class Scheduled:
    """One edit to come. One that is not recorded yet is from a replayed run; the others are our own changelog's."""

    edit: Edit
    source: str
    is_recorded: bool

    @property
    def step(self) -> int:
        return self.edit.step


class Schedule:
    """Scheduled edits in order of their steps; at one step those of the replay come before our own."""

    def __init__(self, scheduled: Iterable[Scheduled] = ()) -> None:
        self._left = deque(sorted(scheduled, key=lambda one: (one.step, one.is_recorded)))

    @property
    def next_step(self) -> int:
        """The step of the next edit; `NEVER` when none is left."""
        return self._left[0].step if self._left else NEVER

    def take(self, step: int) -> list[Scheduled]:
        """Return the edits up to and including `step`; they are not given twice."""
        taken = []
        while self._left and self._left[0].step <= step:
            taken.append(self._left.popleft())
        return taken

    @property
    def left(self) -> list[Scheduled]:
        """The edits whose step was not reached."""
        return list(self._left)


def plan(own: Changelog, own_source: str, replay: Changelog | None, replay_source: str) -> Schedule:
    """Return the schedule of an attempt.

    A replayed edit is left out where our changelog has all its keys at its step: an earlier attempt applied and
    recorded it there, and what the changelog says now includes later edits of that step.
    """
    recorded = {edit.step: edit for edit in merge(own.edits)}
    scheduled = [Scheduled(edit, own_source, is_recorded=True) for edit in recorded.values()]
    for edit in merge(replay.edits) if replay is not None else ():
        ours = recorded.get(edit.step)
        if ours is None or not edit.values.keys() <= ours.values.keys():
            scheduled.append(Scheduled(edit, replay_source, is_recorded=False))
    return Schedule(scheduled)


def read_replay(path: Path) -> Changelog:
    """Read the changelog to replay: a file, or that of a run dir.

    Raises:
        ChangelogError: there is none, it cannot be read, or it is not a changelog.
    """
    return read_changelog(RunDir.at(path).changelog if path.is_dir() else path, f"trainctl.replay={str(path)!r}")


def read_changelog(path: Path, asked: str) -> Changelog:
    """Read a changelog file; `asked` names in an error who wanted it.

    Raises:
        ChangelogError: it is not there, cannot be read, or is not a changelog.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ChangelogError(f"{asked}: there is no {str(path)!r}; give a run dir or a changelog file") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ChangelogError(f"{asked}: {str(path)!r} cannot be read ({reason})") from error
    return loads(text, source=f"{asked}: {str(path)!r}")
