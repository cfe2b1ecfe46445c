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
from collections.abc import Iterable, Mapping
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
    """When each module of a job's process was read: a later change of its file is not in it.

    Args:
        forked: the modules of now are those of the launcher when the sweep began.
    """

    def __init__(self, *, forked: bool) -> None:
        self._read = dict.fromkeys(sys.modules, -math.inf if forked else time.time())
        self._later = _ImportTimes()
        sys.meta_path.insert(0, self._later)

    def changed_since(self, begun: float, script: str | None) -> list[str]:
        """Return the project files that were loaded after a change since the sweep began (Unix seconds)."""
        roots = [str(original_cwd()), *([os.path.dirname(script)] if script is not None else [])]
        return loaded_late(begun, {**self._read, **self._later.times}, roots)


def loaded_late(begun: float, read: Mapping[str, float], roots: Iterable[str]) -> list[str]:
    """Return the files of the project's modules that this process loaded after they changed during the sweep.

    Args:
        begun: when that was, in Unix seconds.
        read: by name of the module, when its file was read: a later change is not in it. What a forked process has of
            its parent was read at minus infinity; what is not named, by ways of its own, last of all.
        roots: the directories of the project; installed packages in them do not count.
    """
    places = tuple(f"{os.path.realpath(root)}{os.sep}" for root in roots)
    found = set()
    for name, module in list(sys.modules.items()):
        until = read.get(name, math.inf)
        file = getattr(module, "__file__", None) if until > begun else None
        if not isinstance(file, str) or "site-packages" in file:
            continue  # before anything is asked of the disk: a job that has loaded PyTorch has thousands of these
        with contextlib.suppress(OSError):
            if begun + _MARGIN_S < os.stat(file).st_mtime <= until:
                found.add(os.path.realpath(file))
    return sorted(path for path in found if path.startswith(places) and "site-packages" not in path)
