"""Finding the runs below a root again and again: only directories that have changed are listed."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from trainctl.run.rundir import RunDir, directories_in, take_in

DEPTH = 4
SETTLED_S = 2.0  # a directory changed less long ago may change again within one tick of its file system's clock


@dataclass(slots=True)
class _Seen:
    """A directory as it was last listed: a run, or the names of the directories in it. No `changed`: list it again."""

    changed: int | None = None
    run: RunDir | None = None
    inside: list[str] = field(default_factory=list)
    is_shut: bool = False


class Search:
    """Finds what `find_runs` finds, in its order; a run costs nothing again, a directory of runs one `stat`.

    What is added to a directory or removed from it changes that directory's own time, and a run dir stays one.

    Attributes:
        passed_over: the directories that may not be read, as of the last look.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: dict[str, _Seen] = {}
        self.passed_over: list[Path] = []

    def runs(self) -> list[RunDir]:
        """List the run dirs at or below the root."""
        before, self._seen = self._seen, {}
        found: list[RunDir] = []
        self.passed_over = []
        if self._look(os.path.abspath(self._root), DEPTH, before, found):
            self.passed_over.append(self._root)
        return found

    def _look(self, path: str, left: int, before: dict[str, _Seen], found: list[RunDir]) -> bool:
        seen = before.get(path)
        if seen is None or seen.run is None:
            seen = _list(path, seen, left)
        self._seen[path] = seen
        if seen.run is not None:
            found.append(seen.run)
            return False
        begin = len(found)
        inside = [f"{path}/{name}" for name in seen.inside]
        shut = [Path(each) for each in inside if self._look(each, left - 1, before, found)]
        if shut:
            take_in(shut, Path(path), found, begin, self.passed_over)
        return seen.is_shut


def _list(path: str, seen: _Seen | None, left: int) -> _Seen:
    try:
        changed = os.stat(path).st_mtime_ns
    except OSError:
        return _Seen()
    if seen is not None and seen.changed == changed:
        return seen
    run = RunDir.at(path)
    if run.is_run():
        return _Seen(None, run)
    try:
        inside = directories_in(path)
    except PermissionError:
        return _Seen(is_shut=True)
    except OSError:
        return _Seen()
    return _Seen(changed if time.time_ns() - changed > SETTLED_S * 1e9 else None, None, inside if left else [])
