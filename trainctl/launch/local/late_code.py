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
from collections.abc import Collection, Iterable

from trainctl.rundir.provenance import original_cwd

_MARGIN_S = 1.0  # file systems round times


class LoadedModules:
    """The modules loaded in a job's process before its task, to be told apart from those that the task loads.

    Args:
        forked: the modules are those of the launcher when the sweep began.
    """

    def __init__(self, *, forked: bool) -> None:
        self._early = frozenset(sys.modules)
        self._read_by = -math.inf if forked else time.time()

    def changed_since(self, begun: float, script: str | None) -> list[str]:
        """Return the project files that were loaded after a change since the sweep began (Unix seconds)."""
        roots = [str(original_cwd()), *([os.path.dirname(script)] if script is not None else [])]
        return loaded_late(begun, self._early, self._read_by, roots)


def loaded_late(begun: float, early: Collection[str], read_by: float, roots: Iterable[str]) -> list[str]:
    """Return the files of the project's modules that this process loaded after they changed during the sweep.

    Args:
        begun: when that was, in Unix seconds.
        early: names of modules that this process had loaded at the time `read_by`: a later change is not in them.
        read_by: Unix seconds; of a forked process minus infinity, since it has them as its parent had.
        roots: the directories of the project; installed packages in them do not count.
    """
    places = tuple(f"{os.path.realpath(root)}{os.sep}" for root in roots)
    found = set()
    for name, module in list(sys.modules.items()):
        until = read_by if name in early else math.inf
        file = getattr(module, "__file__", None) if until > begun else None
        if not isinstance(file, str) or "site-packages" in file:
            continue  # before anything is asked of the disk: a job that has loaded PyTorch has thousands of these
        with contextlib.suppress(OSError):
            if begun + _MARGIN_S < os.stat(file).st_mtime <= until:
                found.add(os.path.realpath(file))
    return sorted(path for path in found if path.startswith(places) and "site-packages" not in path)
