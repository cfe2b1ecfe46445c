"""Event files of TensorBoard that the task writes itself, by a `SummaryWriter` or a logger: where they lie."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path


def open_directory() -> Path | None:
    """Return where a `SummaryWriter` of this process writes; None when none is open.

    Each has a thread, which alone knows its file: by private names of TensorBoard, which a test watches.
    """
    for thread in threading.enumerate():
        if type(thread).__module__.endswith("event_file_writer"):
            writer = getattr(getattr(thread, "_record_writer", None), "_writer", None)
            name = getattr(writer, "filename", None)
            if isinstance(name, str | os.PathLike):
                return Path(os.path.abspath(name)).parent
    return None


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
