"""The files of a sweep dir: the jobs that were left out, what waits in a cluster's queue, and the memory of each slot.

The launcher writes them, page and command line show them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainctl.rundir import files
from trainctl.rundir.fields import Fields, as_float, number, whole
from trainctl.rundir.paths import own_dir


def left_out_file(sweep_dir: Path) -> Path:
    """Return the file with the jobs that the last sweep there left out, and why."""
    return own_dir(sweep_dir) / "left_out.yaml"


def left_out(sweep_dir: Path) -> dict[str, str]:
    """Return why jobs were left out, by their overrides; empty if none were."""
    return {str(overrides): str(why) for overrides, why in files.read_mapping(left_out_file(sweep_dir)).items()}


@dataclass(frozen=True, slots=True)
class Queued:
    """Something that waits in the queue of a cluster, to run jobs of a sweep.

    Attributes:
        id: with the cluster's name: `Slurm 1234_5`.
        place: where it waits: `partition gpu`.
        since: in Unix seconds.
        why: what the cluster says: `Resources`.
    """

    id: str
    place: str = ""
    since: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a sweep's launchers have seen last in the queue.

    Attributes:
        at: when that was.
        jobs: how many jobs have no place to run yet.
    """

    at: float
    jobs: int
    queued: list[Queued]


def write_backlog(sweep_dir: Path, backlog: Backlog | None) -> None:
    """Write what waits; None removes the file."""
    path = _backlog_file(sweep_dir)
    with contextlib.suppress(OSError):  # it is only shown
        if backlog is None:
            path.unlink(missing_ok=True)
        else:
            files.write_yaml(path, asdict(backlog), durable=False)


def read_backlog(sweep_dir: Path) -> Backlog | None:
    """Read what waits; None where nothing does."""
    record = files.read_mapping(_backlog_file(sweep_dir))
    at, jobs, queued = number(record.get("at")), whole(record.get("jobs")), record.get("queued")
    if at is None or not isinstance(queued, list):
        return None
    found = [Fields(each, _backlog_file(sweep_dir).name, []) for each in queued if isinstance(each, dict)]
    return Backlog(
        at,
        jobs or 0,
        [
            Queued(each.text("id") or "", each.text("place") or "", each.number("since"), each.text("why") or "")
            for each in found
        ],
    )


def _backlog_file(sweep_dir: Path) -> Path:
    return own_dir(sweep_dir) / "queued.yaml"


Memory = dict[str, tuple[float, float]]

FRESH_S = 60.0  # what was read longer ago says nothing about now: its launcher has ended, or was killed


def recorded(read: Callable[[], Memory], sweep_dir: Path) -> Callable[[], Memory]:
    """Wrap a reader of used and total MiB by slot so that it also records its values."""

    def read_and_record() -> Memory:
        found = read()
        if found:
            path = _path(sweep_dir)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            record = {"at": time.time(), "slots": {slot: list(pair) for slot, pair in found.items()}}
            files.write_yaml(path, record, durable=False)
        return found

    return read_and_record


def read_memory(sweep_dir: Path) -> Memory:
    """Return the latest used and total MiB by slot; empty if not known."""
    record = files.read_mapping(_path(sweep_dir), most=files.MOST_SMALL)
    at, slots = record.get("at"), record.get("slots")
    if not isinstance(at, float) or abs(time.time() - at) > FRESH_S or not isinstance(slots, Mapping):
        return {}
    return {str(slot): (as_float(pair[0]), as_float(pair[1])) for slot, pair in slots.items() if _is_pair(pair)}


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(number(one) is not None for one in pair)


def _path(sweep_dir: Path) -> Path:
    return own_dir(sweep_dir) / "memory.yaml"
