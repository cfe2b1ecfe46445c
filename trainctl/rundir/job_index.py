"""The index of a sweep dir, `.trainctl/jobs.jsonl`: the run dirs by identity of their job.

A line for each time that a launcher's job takes a run dir, written under the lock of the sweep dir. A line is a hint:
`run.yaml` in the run dir says whose it is. A lost or torn index is rebuilt from the run dirs.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainctl.rundir import files
from trainctl.rundir.paths import RunDir, find_runs, own_dir

MOST_BYTES = 16 * 2**20  # some 150,000 lines; one that is longer is made again from the run dirs

_HEAD_BYTES = 1 << 14  # of `run.yaml`; the name, of at most 255 bytes, and the identity come first
_IDENTITY = re.compile(rb"^identity: ['\"]?([0-9a-f]{16})['\"]?$", re.MULTILINE)
_OF_A_LAUNCHER = re.compile(rb"^job:", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class IndexedJob:
    """One line.

    Attributes:
        run: the path of the run dir below the sweep dir.
        launch: the `launch()` call of the job; None if the line was rebuilt.
        number: of the job in that `launch()`.
    """

    identity: str
    run: str
    launch: str | None = None
    number: int | None = None


class JobIndex:
    """The index of one sweep dir."""

    def __init__(self, sweep_dir: Path) -> None:
        self._sweep_dir = sweep_dir
        self._path = own_dir(sweep_dir) / "jobs.jsonl"

    def exists(self) -> bool:
        """Whether a job has ever taken a run dir here, as far as is known."""
        return self._path.exists()

    def find(self, identity: str) -> list[IndexedJob]:
        """Return the lines of an identity, the latest first; none if the index is missing or unreadable."""
        data, mark = self._read() or b"", f'"{identity}"'.encode()
        lines, place = [], data.find(mark)
        while place >= 0:
            end = data.find(b"\n", place)
            end = len(data) if end < 0 else end
            lines.append(data[data.rfind(b"\n", 0, place) + 1 : end])
            place = data.find(mark, end)
        found = [each for each in map(_as_job, files.parse_lines(b"\n".join(lines))) if each is not None]
        return [each for each in found[::-1] if each.identity == identity]

    def add(self, job: IndexedJob) -> None:
        """Add a line. The caller holds the lock of the sweep dir.

        If the line cannot be written, `run.yaml` still says whose a run is.
        """
        with contextlib.suppress(OSError):
            files.append_lines(self._path, [asdict(job)])

    def mend(self) -> None:
        """Rebuild the index if it is lost, torn or too long. The caller holds the lock of the sweep dir."""
        if self._is_whole():
            return
        text = "".join(files.json_line(asdict(each)) for each in self._recorded())
        if len(text) > MOST_BYTES:
            text = ""  # jobs are equal by their names then
        with contextlib.suppress(OSError):
            files.write_atomic(self._path, text, durable=False)

    def _is_whole(self) -> bool:
        try:
            with files.open_regular(self._path) as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 1))
                return size <= MOST_BYTES and file.read() in (b"", b"\n")
        except OSError:
            return False

    def _read(self) -> bytes | None:
        try:
            return files.read_bytes(self._path, MOST_BYTES)
        except OSError:
            return None

    def _recorded(self) -> Iterator[IndexedJob]:
        for run in find_runs(self._sweep_dir):
            found = _identity_of(run)
            if found is not None:
                yield IndexedJob(found, str(run.path.relative_to(self._sweep_dir)))


def _identity_of(run: RunDir) -> str | None:
    """Return the identity in the `run.yaml` of a launcher's run, without parsing all of it."""
    try:
        with files.open_regular(run.run) as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None
    match = _IDENTITY.search(head)
    return match[1].decode() if match is not None and _OF_A_LAUNCHER.search(head) else None


def _as_job(record: dict[str, Any]) -> IndexedJob | None:
    """Return a line as a job if its path is below the sweep dir."""
    run, launch, number = record.get("run"), record.get("launch"), record.get("number")
    if not isinstance(run, str) or os.path.isabs(run) or ".." in Path(run).parts or not isinstance(number, int | None):
        return None
    return IndexedJob(str(record.get("identity")), run, None if launch is None else str(launch), number)
