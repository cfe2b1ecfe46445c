"""Where the launchers of a sweep listen for agents: a file each, with the secret that opens it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from trainctl.errors import UnreadableError
from trainctl.launch.remote.wire import Address
from trainctl.rundir import files
from trainctl.rundir.beat import VARIABLE, Beat

SEEN, UNSEEN = "seen", "not seen"  # what a node sees of its launcher's locks


def look_for_locks(launcher: Path) -> str:
    """Find out whether a launcher's locks are seen here; else its beat stands for those of the jobs to be started."""
    beat = Beat(str(launcher))
    if beat.is_seen:
        os.environ.pop(VARIABLE, None)
        return SEEN
    os.environ[VARIABLE] = beat.path
    return UNSEEN


def addresses_in(directory: Path) -> list[Path]:
    """Return the files in which the launchers of a sweep say where they listen."""
    return sorted(directory.glob("*.json"))


def read_addresses(path: Path) -> list[tuple[Path, Address]]:
    """Read the address that a launcher has written for its agents, or those in a directory; not one taken back."""
    found = []
    for each in addresses_in(path) if path.is_dir() else [path]:
        with contextlib.suppress(UnreadableError, FileNotFoundError, ValueError):  # taken back, or about to be
            found.append((each, Address.read(files.read_bytes(each, files.MOST_SMALL).decode())))
    return found
