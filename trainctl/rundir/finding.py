"""Finding the runs below a directory at any depth, without reading the whole disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from trainctl.rundir.paths import RunDir, directories_in

MOST_DIRS = 10_000  # looked into without being runs, beside one more for each run that is found: about a second


@dataclass(frozen=True, slots=True)
class Listed:
    """The content of a path: a run, or the names of its directories, or that it may not be read."""

    run: RunDir | None = None
    inside: list[str] = field(default_factory=list)
    is_shut: bool = False


@dataclass(slots=True)
class FoundRuns:
    """The result of a search.

    Attributes:
        runs: sorted by path.
        passed_over: unreadable directories in which no run is known.
        beyond: directories that were not searched, because too many before them were not runs.
    """

    runs: list[RunDir] = field(default_factory=list)
    passed_over: list[Path] = field(default_factory=list)
    beyond: list[Path] = field(default_factory=list)


Look = Callable[[str, bool], Listed]  # a path, and whether the directories in it are wanted, should it not be a run


def search(root: Path, look: Look) -> FoundRuns:
    """Find the runs at and below `root`, breadth first; directories inside a run are not searched.

    An unreadable directory counts as a run if a directory beside it is one.
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
    """Return the present content of a path; without the names in it if they are not wanted."""
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
