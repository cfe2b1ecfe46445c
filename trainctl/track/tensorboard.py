"""TensorBoard: event files, written and read back, and those that the task writes itself."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
import os
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakSet

from trainctl.config import yaml
from trainctl.errors import TrainctlError
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import State
from trainctl.track import net
from trainctl.track.facts import run_started
from trainctl.track.names import to_tensorboard
from trainctl.track.tracker import Facts, MetricRecord, ValueChange

_DEPTH = 3  # Lightning has them in lightning_logs/version_0/
_NAME = "events.out.tfevents."
_OURS = ".trainctl-"

_earlier: WeakSet[threading.Thread] = WeakSet()


@cache
def is_installed() -> bool:
    """Whether event files can be read and written here."""
    return importlib.util.find_spec("tensorboard") is not None


def find_event_files(path: Path) -> list[Path]:
    """Return the event files in a run dir and a few levels below, in order; none when TensorBoard is not installed."""
    return sorted(_found(str(path), _DEPTH)) if is_installed() else []


def _found(directory: str, depth: int) -> Iterator[Path]:
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(_NAME):
            if entry.is_file():
                yield Path(entry.path)
        elif depth and not entry.name.startswith(".") and "." not in entry.name and entry.is_dir(follow_symlinks=False):
            yield from _found(entry.path, depth - 1)


def read_scalars(path: Path, *, is_foreign_only: bool = False) -> dict[str, list[float]]:
    """Return the values of each tag in the event files of a run dir, in order of steps; of one step the last counts.

    What a writer has taken back (`purge_step`, when it went on from a checkpoint) does not count. Tags below `hparams/`
    are edits, and are left out.

    Args:
        path: the run dir.
        is_foreign_only: skip the files that trainctl wrote, which say no more than `metrics.jsonl`.
    """
    found: dict[str, dict[int, float]] = {}
    found_files = find_event_files(path)
    for file in found_files if not is_foreign_only else [one for one in found_files if _OURS not in one.name]:
        for tag, step, value in read_events(file):
            if tag is None:
                found = {name: {at: one for at, one in values.items() if at < step} for name, values in found.items()}
            elif not tag.startswith("hparams/"):
                found.setdefault(tag, {})[step] = value
    return {tag: [values[step] for step in sorted(values)] for tag, values in found.items()}


def read_events(file: Path) -> Iterator[tuple[str | None, int, float]]:
    """Yield tag, step and value of the scalars of an event file; what is torn at its end is passed over.

    Without a tag it is the step from which on all that was written before is taken back.
    """
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.util.tensor_util import make_ndarray

    for record in RawEventFileLoader(str(file)).Load():
        event = Event.FromString(record)
        if event.HasField("session_log") and event.session_log.status == event.session_log.START:
            yield None, event.step, 0.0
        for value in event.summary.value:
            kind = value.WhichOneof("value")
            if kind == "simple_value":
                yield value.tag, event.step, float(value.simple_value)
            elif kind == "tensor" and value.tensor.dtype != _TEXT and _size(value.tensor) == 1:
                yield value.tag, event.step, float(make_ndarray(value.tensor).item())


def _size(tensor: Any) -> int:
    return math.prod(dim.size for dim in tensor.tensor_shape.dim)


_TEXT = 7  # of TensorFlow's DataType: DT_STRING


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


def _written_directory(paths: Iterable[Path], since: float) -> Path | None:
    """Return the directory of the event file that was written last, if that was after the start of the run."""
    times: list[tuple[float, Path]] = []
    for file in paths:
        try:
            times.append((file.stat().st_mtime, file))
        except OSError:
            continue  # gone meanwhile
    latest = max(times, default=None)
    return latest[1].parent if latest is not None and latest[0] >= since else None


def _load() -> None:
    """Import what is used below, all at once."""
    import tensorboard.compat.proto.event_pb2
    import tensorboard.summary.writer.record_writer  # noqa: F401


def make(run: RunDir) -> TensorBoard:
    """Make the tracker of a run."""
    return TensorBoard(run)


def task_has_run() -> bool:
    """Whether a `SummaryWriter` is open in this process."""
    return open_directory() is not None


def has_all(run: RunDir, kept: Mapping[str, Any]) -> bool:
    """Whether all that was written by the time of a note is still there: the event file, in its whole length."""
    file, size = _noted(run, kept), kept.get("size")
    return file is not None and type(size) is int and 0 < size <= file.stat().st_size


class TensorBoard:
    """Writes one event file, into the directory of a logger that the task has opened, else `tensorboard/` of the run.

    Nothing else writes to this file. What was written after the last note of its size is cut off when the file is
    opened again, so each record is in it once, however the process ended. A file that was deleted, or has lost its end,
    is started again.
    """

    def __init__(self, run: RunDir) -> None:
        _load()
        self._run = run
        self._file: io.FileIO | None = None
        self._path = run.path
        self._size = 0
        self._kinds: dict[str, str] = {}  # of values, by tag: TensorBoard takes one kind for each
        self.has_lost_all = False
        self.is_attached = False
        self.is_over = False  # this file stays open when the task closes its own writer

    def open(self, facts: Facts, kept: Mapping[str, Any]) -> dict[str, Any]:
        is_known = has_all(self._run, kept)
        self.has_lost_all = "file" in kept and not is_known
        self._kinds = dict(kept.get("kinds", {})) if is_known else {}
        theirs = net.noted("tensorboard").get("directory") or open_directory() or self._written(kept)
        self.is_attached = theirs is not None or kept.get("attached") is True
        self._path = _place(self._run, kept, None if theirs is None else Path(theirs))
        if is_known:
            self._file = self._path.open("r+b", buffering=0)
            self._file.truncate(kept["size"])
            self._file.seek(0, os.SEEK_END)
            return self.kept()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)  # a process that still has it open does not write into the new one
        self._file = self._path.open("xb", buffering=0)
        from tensorboard.compat.proto.event_pb2 import Event

        self._write([Event(wall_time=time.time(), file_version="brain.Event:2")])
        self._say("trainctl/config", facts.document)
        self._say("trainctl/overrides", "\n".join(facts.overrides))
        if facts.url:
            self._say("trainctl/page", facts.url)
        return self.kept()

    def _written(self, kept: Mapping[str, Any]) -> Path | None:
        """Return the directory where the task has written its own scalars, for a run of which nothing was sent yet."""
        found = find_event_files(self._run.path)
        if "file" in kept or any(_OURS in file.name for file in found):
            return None
        curves = (file for file in found if any(tag is not None for tag, _, _ in read_events(file)))
        return _written_directory(curves, run_started(self._run))

    def metrics(self, records: Sequence[MetricRecord]) -> None:
        self._write([_scalars(one.step, one.t, one.numbers) for one in records if one.numbers])

    def changes(self, changes: Sequence[ValueChange]) -> None:
        """Write series, of texts too, and each edit as a text."""
        events = []
        for one in changes:
            numbers = {self._tag(name, "number"): value for name, value in one.numbers.items()}
            events += [_scalars(one.step, one.t, numbers)] if numbers else []
            events += [_text(self._tag(name, "text"), text, one.step) for name, text in one.texts.items()]
            if one.step:
                lines = [f"{key} {one.said.get(key, yaml.inline(value))}" for key, value in one.values.items()]
                said = "\n".join([*lines, *([f"# {one.note}"] if one.note else [])])
                events.append(_text("trainctl/edits", said, one.step))
        self._write(events)

    def _tag(self, name: str, kind: str) -> str:
        """Return the tag of a key's values of one kind: the first kind has its name."""
        return name if self._kinds.setdefault(name, kind) == kind else f"{name} ({kind})"

    def rewind(self, step: int) -> bool:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        if self.is_attached:
            return False  # it would take back what the task has written
        start = SessionLog(status=SessionLog.START)  # what has a step from here on is not shown any more
        self._write([Event(wall_time=time.time(), step=step + 1, session_log=start)])
        return True

    def changelog(self, text: str) -> None:
        self._say("trainctl/changelog", text)

    def end(self, state: State, reason: str | None) -> None:
        self._say("trainctl/status", f"{state}: {reason}" if reason else state)

    def kept(self) -> dict[str, Any]:
        if self._file is None:
            return {}
        if not self._file.closed:
            self._size = self._file.tell()
        found = {"file": os.path.relpath(self._path, self._run.path), "size": self._size, "kinds": dict(self._kinds)}
        return {**found, "attached": True} if self.is_attached else found

    def address(self) -> str | None:
        return str(self._path.parent)

    def close(self) -> None:
        if self._file is not None:
            self.kept()  # the size, while it can be asked: somebody may have deleted the file
            with contextlib.suppress(OSError):
                self._file.close()

    def _say(self, tag: str, text: str) -> None:
        self._write([_text(tag, text)])

    def _write(self, events: Sequence[Any]) -> None:
        """Write all of them or nothing: what is half written (the disk is full, say) hides all that comes after it."""
        from tensorboard.summary.writer.record_writer import RecordWriter

        assert self._file is not None, "open() comes first"
        if os.fstat(self._file.fileno()).st_nlink == 0:
            raise TrainctlError(f"somebody has deleted its event file {self._path}")
        records = io.BytesIO()
        writer = RecordWriter(records)
        for event in events:
            writer.write(event.SerializeToString())
        begun = self._file.tell()
        try:
            files.write_all(self._file.fileno(), records.getvalue())
        except BaseException:
            self._file.truncate(begun)
            self._file.seek(begun)
            raise


def _noted(run: RunDir, kept: Mapping[str, Any]) -> Path | None:
    """Return the event file that was noted, if it is there.

    The file will be truncated, and a run dir may come from anywhere: only an event file that trainctl wrote passes.
    """
    path = run.path / str(kept.get("file", ""))
    return path if path.name.startswith(_NAME) and _OURS in path.name and _is_plain(path) else None


def _place(run: RunDir, kept: Mapping[str, Any], theirs: Path | None) -> Path:
    """Return the file that was noted, else one that was begun but not noted yet, else a new one.

    A new one stands in `theirs`, the directory that the task writes its own files to, if there is one.
    """
    noted = _noted(run, kept)
    if noted is not None:
        return noted
    own = run.path / "tensorboard"
    directory = theirs or _directory_noted(run, kept) or own
    key = re.sub(r"\W", "", str(kept["key"]))
    begun = _ours_in(directory, key)
    if begun:
        return begun[0]
    if directory == own and "file" not in kept and len(lost := _ours_in(own)) == 1:
        return lost[0]  # its note was lost; a new file beside it would double every point
    return directory / f"{_NAME}{int(time.time())}.{socket.gethostname()}{_OURS}{key}"


def _ours_in(directory: Path, key: str = "*") -> list[Path]:
    return sorted(path for path in directory.glob(f"{_NAME}*{_OURS}{key}") if _is_plain(path))


def _directory_noted(run: RunDir, kept: Mapping[str, Any]) -> Path | None:
    """Return where a file that is gone was, if that is still there, in the run dir."""
    directory = (run.path / str(kept.get("file", ""))).parent
    is_inside = "file" in kept and directory.resolve().is_relative_to(run.path.resolve())
    return directory if is_inside and directory.is_dir() else None


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _text(tag: str, text: str, step: int = 0) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto

    shown = "    " + text.replace("\n", "\n    ")  # as code: it is shown as Markdown
    value = Summary.Value(
        tag=to_tensorboard(tag),
        metadata=SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text")),
        tensor=TensorProto(dtype=_TEXT, string_val=[shown.encode(errors="backslashreplace")]),
    )
    return Event(wall_time=time.time(), step=step, summary=Summary(value=[value]))


def _scalars(step: int, t: float, numbers: Mapping[str, float]) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [Summary.Value(tag=to_tensorboard(name), simple_value=value) for name, value in numbers.items()]
    return Event(wall_time=t, step=step, summary=Summary(value=values))
