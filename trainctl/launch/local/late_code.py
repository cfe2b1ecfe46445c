"""Detecting code that was changed while a sweep ran: which jobs have loaded a newer version.

A forked job has all modules that its program had imported when the sweep began. What it imports by itself, such as the
module that a `_target_` names, is read when it runs.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Iterable
from importlib.abc import MetaPathFinder

from trainctl.rundir.provenance import original_cwd

_MARGIN_S = 1.0  # file systems round times


class _ImportTimes(MetaPathFinder):
    """Finds no module, and keeps the time at which each was looked for: just before its file is read."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        self.times[fullname] = time.time()


class LoadedModules:
    """The modules that a job's process has loaded, and when: a later change of a file is not in its module.

    Args:
        begun: when the sweep began, in Unix seconds.
        script: the file of the program; None if it has none.
        are_launchers: the process was forked from the launcher's and has them as they were when the sweep began; else
            it has loaded them just now, or the agent that it is forked from has.
    """

    def __init__(self, begun: float, script: str | None, *, are_launchers: bool) -> None:
        self._begun = begun
        self._roots = [str(original_cwd()), *([os.path.dirname(script)] if script is not None else [])]
        self._early = frozenset(sys.modules)
        self._later = _ImportTimes()
        self._late = frozenset() if are_launchers else frozenset(self._changed(self._early))
        sys.meta_path.insert(0, self._later)

    def changed(self) -> list[str]:
        """Return the project's files that this process, or the one it is a copy of, has loaded in a newer version."""
        return sorted(self._late.union(self._changed(sys.modules.keys() - self._early)))

    def _changed(self, names: Iterable[str]) -> Iterable[str]:
        """Yield the files of modules, not of installed packages, that changed in the sweep before they were read."""
        places = tuple(f"{os.path.realpath(root)}{os.sep}" for root in self._roots)
        for name in names:
            file = getattr(sys.modules.get(name), "__file__", None)
            if not isinstance(file, str) or "site-packages" in file:
                continue  # before anything is asked of the disk: a job that has loaded PyTorch has thousands of these
            with contextlib.suppress(OSError):
                if self._begun + _MARGIN_S < os.stat(file).st_mtime <= self._later.times.get(name, math.inf):
                    path = os.path.realpath(file)
                    if path.startswith(places) and "site-packages" not in path:
                        yield path
