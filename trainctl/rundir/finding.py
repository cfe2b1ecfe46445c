"""Finding the runs below a directory, however deep they lie, without reading a whole disk for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from trainctl.rundir.paths import RunDir, directories_in

MOST_DIRS = 10_000  # looked into without being runs, beside one more for each run that is found: about a second


@dataclass(frozen=True, slots=True)
class Listed:
    """What stands at a path: a run; else the names of the directories in it, or that it may not be read."""

    run: RunDir | None = None
    inside: list[str] = field(default_factory=list)
    is_shut: bool = False


@dataclass(slots=True)
class FoundRuns:
    """What a search has found.

    Attributes:
        runs: sorted by path.
        passed_over: directories that may not be read, and hold no run as far as can be told.
        beyond: directories that were not looked into, because so many before them were no runs.
    """

    runs: list[RunDir] = field(default_factory=list)
    passed_over: list[Path] = field(default_factory=list)
    beyond: list[Path] = field(default_factory=list)


Look = Callable[[str, bool], Listed]  # a path, and whether the directories in it are wanted, should it not be a run


def search(root: Path, look: Look) -> FoundRuns:
    """Find the runs at and below `root`, those nearest to it first; directories inside a run are not looked into.

    A directory that may not be read is taken for a run where one beside it is a run.
    """
    found, shut = FoundRuns(), []
    level, left = [os.path.abspath(root)], MOST_DIRS
    while level:
        below: list[str] = []
        for path in level:
            listed = look(path, left > 0) if left > -9 * MOST_DIRS else Listed()
            if listed.run is not None:
                found.runs.append(listed.run)
                left += 1
                continue
            if listed.is_shut:
                shut.append(Path(path))
            elif left <= 0:
                found.beyond.append(Path(path))
            left -= 1
            below += [os.path.join(path, name) for name in listed.inside]
        level = below
    parents = {run.path.parent for run in found.runs}
    found.passed_over = [path for path in shut if path.parent not in parents]
    found.runs += [RunDir(path) for path in shut if path.parent in parents]
    found.runs.sort(key=lambda run: run.path.parts)
    return found


def list_at(path: str, is_listed: bool = True) -> Listed:
    """Return what stands at a path now; without the names in it, if they are not wanted."""
    run = RunDir(Path(path))
    if run.is_run():
        return Listed(run)
    if not is_listed:
        return Listed()
    try:
        return Listed(inside=directories_in(path))
    except PermissionError:
        return Listed(is_shut=True)
    except OSError:
        return Listed()  # gone: nothing of ours to list


def find_runs(root: Path) -> list[RunDir]:
    """List the run dirs at or below a directory, sorted by path; see `search`."""
    return search(root, list_at).runs
