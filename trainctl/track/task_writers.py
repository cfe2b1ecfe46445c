"""Event files of TensorBoard that the task writes itself, by a `SummaryWriter` or a logger: where they are."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from weakref import WeakSet

_earlier: WeakSet[threading.Thread] = WeakSet()


def open_directory() -> Path | None:
    """Return where the `SummaryWriter` writes that this process has opened last; None when none is open."""
    return next(iter([path for thread, path in _writers() if thread not in _earlier][::-1]), None)


def forget_open() -> None:
    """Forget the writers that are open now: they are those of a run that has ended."""
    for thread, _ in _writers():
        _earlier.add(thread)


def _writers() -> Iterable[tuple[threading.Thread, Path]]:
    """Yield directories in order of opening: by the writers' threads, whose private names a test watches."""
    for thread in threading.enumerate():
        if type(thread).__module__.endswith("event_file_writer"):
            writer = getattr(getattr(thread, "_record_writer", None), "_writer", None)
            name = getattr(writer, "filename", None)
            if isinstance(name, str | bytes | os.PathLike):
                yield thread, Path(os.path.abspath(os.fsdecode(name))).parent


def written_directory(files: Iterable[Path], since: float) -> Path | None:
    """Return the directory of the event file that was written last, if that was after the start of the run."""
    times: list[tuple[float, Path]] = []
    for file in files:
        try:
            times.append((file.stat().st_mtime, file))
        except OSError:
            continue  # gone meanwhile
    latest = max(times, default=None)
    return latest[1].parent if latest is not None and latest[0] >= since else None
