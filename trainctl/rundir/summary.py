"""The row of a run in a table, read from the ends of its files only, so that a thousand runs are listed in a second."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainctl.config.changelog import Changelog, loads
from trainctl.config.masking import Masking
from trainctl.config.yaml import read_document
from trainctl.errors import ChangelogError, UnreadableError
from trainctl.rundir import events, files
from trainctl.rundir.edits import values_by_step
from trainctl.rundir.fields import Fields, number
from trainctl.rundir.masked import learn_unparsed, masking_of, texts
from trainctl.rundir.metrics import with_numbers
from trainctl.rundir.pace import Progress, read_progress
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import (
    ALIVE,
    STATES,
    CommandState,
    Seen,
    State,
    Status,
    command_states,
    seen_of,
    stop_reason,
    stopped_by,
)

log = logging.getLogger(__name__)

TAIL_BYTES = 64 * 1024
MOST_CHECKED = 64 * 1024  # bytes of a changelog that every look at a table parses, in some 20 ms at worst

_TOP_LEVEL_KEY = re.compile(r"^([A-Za-z_]\w*):", re.MULTILINE)
_EDITED_STEP = re.compile(rb"^0*[1-9]\d*:", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Summary:
    """One row of a table of runs. None where the run's files do not say; they never have to be complete or whole.

    `metrics` holds the last value of each metric among the latest records (`TAIL_BYTES` of them). `result` is the
    return value, or the text of its `repr` when it is not a plain value. `age_s` counts from the last sign of life.
    `changes` holds the values that each edited key has had, with their steps, the first being 0.
    `problems` say which files could not be read, and why. What is secret is masked, as `masking` knows it.
    """

    run: RunDir
    name: str
    state: Seen
    overrides: list[str]
    slot: str | None
    host: str | None
    pid: int | None
    step: int | None
    total: int | None
    rate: float | None
    eta_s: float | None
    metrics: dict[str, float]
    result: Any
    edits: int
    started: float | None
    ended: float | None
    duration_s: float | None
    age_s: float | None
    attempt: int
    reason: str | None
    unread: int | None = 0  # edits of which a value was not read; None where only the whole of the events tells
    changes: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)
    commands: list[CommandState] = field(default_factory=list)  # of a pipeline
    looks: tuple[str, ...] = ()  # the actions that its loop looks for
    problems: list[str] = field(default_factory=list)
    masking: Masking = field(default_factory=lambda: Masking({}), repr=False, compare=False)

    @property
    def is_alive(self) -> bool:
        """Whether its process lives: it runs, or is paused."""
        return self.state in ALIVE

    @property
    def paused(self) -> bool:
        """Whether the run is paused."""
        return self.state == "paused"

    @property
    def why(self) -> str | None:
        """Why the run failed, and what could not be read."""
        return "; ".join(filter(None, (self.reason, *self.problems))) or None


def summarize(run: RunDir) -> Summary:
    """Read a run's files into one row. Never raises: missing entries are left out, invalid ones reported."""
    try:
        return _summarize(run)
    except Exception as error:  # a file of a kind that nobody thought of must cost no other run its row
        log.exception("%s could not be read", run.path)
        return _unreadable(run, [f"not readable: {type(error).__name__}: {' '.join(str(error).split())[:200]}"])


def _summarize(run: RunDir) -> Summary:
    now = time.time()
    problems: list[str] = []
    state, status = seen_of(run, problems)
    if status is None and (why := run.shut()):
        return _unreadable(run, [why])
    is_known = status is not None
    status = status or Status(state="queued")
    record = read_record(run, "name", "overrides", problems=problems)
    progress = read_progress(run, problems, since=status.started if state in ALIVE else None)
    metrics, metrics_step = last_metrics(run, problems)
    result, (changelog, edits, masking) = _result(run, problems), _read_edits(run, problems)
    latest = events.check_latest(run, read_tail(run.events, problems=problems), problems)
    has_all = events.size_of(run) <= TAIL_BYTES
    ended = None if state in ALIVE else status.ended
    return Summary(
        run=run,
        name=Fields(record, run.run.name, problems).text("name") or run.name,
        state=state if is_known or not problems else "unreadable",
        overrides=[masking.text(each) for each in _texts(record.get("overrides"))],
        slot=status.slot,
        host=status.host,
        pid=status.pid,
        step=metrics_step if progress.step is None else progress.step,
        total=_total(state, progress),
        rate=progress.rate,
        eta_s=progress.eta_s if state in ALIVE else None,
        metrics=metrics,
        result=masking.value(run.result.stem, result),
        edits=edits,
        unread=events.unread_among(latest) if has_all else None,
        started=status.started,
        ended=ended,
        duration_s=_duration_s(state, status.started, ended, now),
        age_s=_age_s(run, now),
        attempt=status.attempt,
        reason=texts(masking, _reason(run, state, status, progress)),
        changes=_changes(masking, changelog),
        commands=command_states(status, state, now),
        looks=progress.looks,
        problems=texts(masking, problems),
        masking=masking,
    )


def _total(state: Seen, progress: Progress) -> int | None:
    """Return the last step that a run is to make; None for one that is done by fewer steps than it said it would."""
    is_over = state == "done" and progress.step is not None and progress.total is not None
    return None if is_over and progress.step != progress.total else progress.total


def _texts(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


def _unreadable(run: RunDir, problems: list[str]) -> Summary:
    """Return the row of an unreadable run."""
    nothing: dict[str, Any] = dict.fromkeys(
        ("slot", "host", "pid", "step", "total", "rate", "eta_s", "result", "started", "ended", "duration_s", "age_s")
    )
    return Summary(
        run, run.name, "unreadable", [], metrics={}, edits=0, attempt=1, reason=None, problems=problems, **nothing
    )


def read_record(run: RunDir, *keys: str, problems: list[str] | None = None) -> dict[str, Any]:
    """Read only these top-level entries of `run.yaml`, since parsing all its packages is slow.

    Why an existing file has none is added to `problems`.
    """
    try:
        text = files.read_bytes(run.run).decode(errors="replace")
        return _entries(text, keys, run.run)
    except FileNotFoundError:
        return {}
    except UnreadableError as error:
        if problems is not None:
            problems.append(f"{run.run.name}: {error.why}")
        return {}


@dataclass(frozen=True, slots=True)
class PreviousAttempt:
    """The end of the attempt before this one.

    Attributes:
        number: 1 for the first.
        state: how it ended: `interrupted` if it was killed, `stopped` if a person stopped this very run, `failed`,
            `timeout`, `oom`, or `done`.
        reason: why, as far as that is known.
        last_step: the last step that it reached; None if not known.
    """

    number: int
    state: State
    reason: str | None = None
    last_step: int | None = None

    @classmethod
    def of(cls, run: RunDir, status: Status) -> PreviousAttempt:
        """Return the last attempt of a run that is not running."""
        progress = read_progress(run)
        last = max((step for step in (progress.step, last_metrics(run)[1]) if step is not None), default=None)
        if status.state not in ALIVE:
            return cls(status.attempt, status.state, status.reason, last)
        who = stopped_by(run, status)
        if who is None:
            return cls(status.attempt, "interrupted", status.reason, last)
        return cls(status.attempt, "stopped", stop_reason(who, progress.step, progress.total), last)

    @classmethod
    def from_record(cls, record: Any) -> PreviousAttempt | None:
        """Return the attempt before the running one from `run.yaml`; None if there was none."""
        fields = Fields(record if isinstance(record, dict) else {}, "run.yaml")
        number, state = fields.whole("number"), fields.text("state")
        if number is None or state not in STATES:
            return None
        return cls(number, state, fields.text("reason"), fields.whole("last_step"))


def last_metrics(run: RunDir, problems: list[str] | None = None) -> tuple[dict[str, float], int | None]:
    """Read the last value of each metric in the tail of `metrics.jsonl`, and the step of the last record."""
    latest: dict[str, Any] = {}
    data = read_tail(run.metrics, problems=problems)
    for record in files.parse_together(with_numbers(data)):
        latest.update(record)
    if not latest and problems is not None and _is_none(data):
        problems.append(f"{run.metrics.name}: none of its lines is a record")
    step = Fields(latest, run.metrics.name, problems).whole("step")
    numbers = ((key, number(value)) for key, value in latest.items() if key not in ("step", "t"))
    return {key: value for key, value in numbers if value is not None}, step


def _is_none(data: bytes) -> bool:
    """Whether the end of a file without valid records is complete: whole lines, or zeros after a power failure."""
    return bool(data.strip()) and (b"\0" in data or (data.endswith(b"\n") and len(data) < TAIL_BYTES))


def _read_edits(run: RunDir, problems: list[str]) -> tuple[Changelog | None, int, Masking]:
    """Return the changelog, at how many steps it has edits, and what is secret; `problems` say why it is not one.

    One that is longer than `MOST_CHECKED` is not parsed for that: its parts are counted, its secrets read, as they are.
    """
    name, changelog, edits, data = run.changelog.name, None, 0, b""
    try:
        data = files.read_bytes(run.changelog, files.MOST_CHANGELOG)
        if len(data) > MOST_CHECKED:
            edits = len(_EDITED_STEP.findall(data))
        else:
            changelog = loads(data, name)
            edits = len(changelog.edits)
    except FileNotFoundError:
        pass
    except UnreadableError as error:
        problems.append(f"{name}: {error.why}")
    except ChangelogError as error:
        problems.append(str(error))
    masking = masking_of(run, changelog)
    if changelog is None:
        learn_unparsed(masking, data)
    return changelog, edits, masking


def _changes(masking: Masking, changelog: Changelog | None) -> dict[str, list[tuple[int, Any]]]:
    values = values_by_step(changelog) if changelog is not None and changelog.edits else {}
    return {key: [(step, masking.value(key, value)) for step, value in each] for key, each in values.items()}


def read_tail(path: Path, size: int = TAIL_BYTES, problems: list[str] | None = None) -> bytes:
    """Read the whole lines within the last `size` bytes of a file, the end of one that is longer.

    Empty when the file cannot be read; why is added to `problems`.
    """
    try:
        with files.open_regular(path) as file:
            start = max(0, os.fstat(file.fileno()).st_size - size)
            # one byte earlier: when it ends a line, the line after it is whole
            file.seek(max(0, start - 1))
            data = file.read(size + 1)
    except FileNotFoundError:
        return b""
    except OSError as error:
        if problems is not None:
            why = error.why if isinstance(error, UnreadableError) else f"not readable: {error.strerror}"
            problems.append(f"{path.name}: {why}")
        return b""
    return data if start == 0 or b"\n" not in data else data.partition(b"\n")[2]


def _entries(text: str, keys: tuple[str, ...], path: Path) -> dict[str, Any]:
    """Return entries of a YAML mapping as it is written by trainctl; the whole text is read where it has none of them.

    Raises:
        UnreadableError: the entries, or the whole text where there are none, are not YAML, or no mapping.
    """
    found = [(match[1], match.start()) for match in _TOP_LEVEL_KEY.finditer(text)]
    ends = [start for _, start in found[1:]] + [len(text)]
    wanted = "".join(text[start:end] for (key, start), end in zip(found, ends, strict=False) if key in keys)
    if not wanted and len(found) > 1:
        return {}  # one of trainctl's, without these
    entries = read_document(wanted or text, lambda why: files.unreadable(path, why))
    if not isinstance(entries, dict):
        raise files.unreadable(path, "it holds no mapping")
    return {key: entries[key] for key in keys if key in entries}


def _duration_s(state: Seen, started: float | None, ended: float | None, now: float) -> float | None:
    end = now if state in ALIVE else ended
    return None if started is None or end is None else max(0.0, end - started)


def _age_s(run: RunDir, now: float) -> float | None:
    """Seconds since the run last wrote something, never negative (clocks of hosts differ)."""
    times = []
    for path in (run.progress, run.metrics, run.status):
        with contextlib.suppress(OSError):  # not every run logs metrics or knows its progress
            times.append(path.stat().st_mtime)
    return max(0.0, now - max(times)) if times else None


def _result(run: RunDir, problems: list[str]) -> Any:
    record = files.read_mapping(run.result, problems, most=files.MOST_SMALL)
    return record["value"] if "value" in record else record.get("repr")


def _reason(run: RunDir, state: Seen, status: Status, progress: Progress) -> str | None:
    if state in ALIVE:
        return None
    if status.state in ALIVE:
        who = stopped_by(run, status)
        if who is not None:
            return stop_reason(who, progress.step, progress.total)
        return "its process is gone without recording how it ended (killed, a full disk, or the machine went down)"
    if status.reason is None and status.signal is not None:
        return f"killed by {status.signal}"
    return status.reason
