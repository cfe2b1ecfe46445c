"""What a table shows of a run, read from the ends of its files only, so that a thousand runs are listed in a second."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml as pyyaml

from trainctl.config import yaml
from trainctl.run import files
from trainctl.run.commandstate import CommandState, command_states
from trainctl.run.rundir import RunDir
from trainctl.run.status import State, Status, read_status, state_of
from trainctl.run.stop import stopped_by

TAIL_BYTES = 64 * 1024

_TOP_LEVEL_KEY = re.compile(r"^([A-Za-z_]\w*):", re.MULTILINE)
_EDITED_STEP = re.compile(rb"^0*[1-9]\d*:", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Summary:
    """One row of a table of runs. None where the run's files do not say; they never have to be complete or whole.

    `metrics` holds the last value of each metric among the latest records (`TAIL_BYTES` of them). `result` is the
    return value, or the text of its `repr` when it is not a plain value. `age_s` counts from the last sign of life.
    """

    run: RunDir
    name: str
    state: State
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
    paused: bool = False
    commands: list[CommandState] = field(default_factory=list)  # of a pipeline


def summarize(run: RunDir) -> Summary:
    """Read a run's files into one row. Never raises: what is missing, torn or of a foreign type is left out."""
    now = time.time()
    state = state_of(run)
    status = read_status(run) or Status(state="queued")
    record = read_record(run, "name", "overrides")
    progress = files.read_mapping(run.progress)
    metrics, metrics_step = last_metrics(run)
    step = _whole(progress.get("step"))
    total, rate = _whole(progress.get("total")), _number(progress.get("rate"))
    started, ended = _number(status.started), None if state == "running" else _number(status.ended)
    overrides = record.get("overrides")
    return Summary(
        run=run,
        name=_text(record.get("name")) or run.name,
        state=state,
        overrides=[str(override) for override in overrides] if isinstance(overrides, list) else [],
        slot=_text(status.slot),
        host=_text(status.host),
        pid=_whole(status.pid),
        step=metrics_step if step is None else step,
        total=total,
        rate=rate,
        eta_s=_eta_s(state, step, total, rate),
        metrics=metrics,
        result=_result(run),
        edits=count_edits(run),
        started=started,
        ended=ended,
        duration_s=_duration_s(state, started, ended, now),
        age_s=_age_s(run, now),
        attempt=_whole(status.attempt) or 1,
        reason=_reason(run, state, status),
        paused=state == "running" and progress.get("paused") is True,
        commands=command_states(status, state, now),
    )


def read_record(run: RunDir, *keys: str) -> dict[str, Any]:
    """Read these top-level entries of `run.yaml` only: parsing all its packages takes longer than everything else."""
    return _entries(_read_text(run.run), keys)


def last_metrics(run: RunDir) -> tuple[dict[str, float], int | None]:
    """Read the last value of each metric in the tail of `metrics.jsonl`, and the step of the last record."""
    latest: dict[str, Any] = {}
    for record in _parse_together(read_tail(run.metrics)):
        latest.update(record)
    step = _whole(latest.pop("step", None))
    latest.pop("t", None)
    numbers = ((key, _number(value)) for key, value in latest.items())
    return {key: number for key, number in numbers if number is not None}, step


def count_edits(run: RunDir) -> int:
    """Count the steps at which the changelog has edits, without parsing the config at its start."""
    try:
        return len(_EDITED_STEP.findall(run.changelog.read_bytes()))
    except OSError:
        return 0


def read_tail(path: Path, size: int = TAIL_BYTES) -> bytes:
    """Read the whole lines within the last `size` bytes of a file; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            start = max(0, os.fstat(file.fileno()).st_size - size)
            # one byte earlier: when it ends a line, the line after it is whole
            file.seek(max(0, start - 1))
            data = file.read()
    except OSError:
        return b""
    return data if start == 0 else data.partition(b"\n")[2]


def _parse_together(data: bytes) -> list[dict[str, Any]]:
    """Parse JSON lines in one call, five times as fast as line by line; one by one when a line is torn or foreign."""
    try:
        records: list[Any] = json.loads(b"[" + b",".join(data.splitlines()) + b"]")
    except ValueError:
        return list(files.parse_lines(data))
    return [record for record in records if isinstance(record, dict)]


def _entries(text: str, keys: tuple[str, ...]) -> dict[str, Any]:
    found = [(match[1], match.start()) for match in _TOP_LEVEL_KEY.finditer(text)]
    ends = [start for _, start in found[1:]] + [len(text)]
    wanted = (text[start:end] for (key, start), end in zip(found, ends, strict=False) if key in keys)
    try:
        entries = yaml.loads("".join(wanted))
    except pyyaml.YAMLError:
        return {}
    return entries if isinstance(entries, dict) else {}


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _eta_s(state: State, step: int | None, total: int | None, rate: float | None) -> float | None:
    if state != "running" or step is None or total is None or rate is None or not 0 < rate < float("inf"):
        return None
    return max(0.0, (total - step) / rate)


def _duration_s(state: State, started: float | None, ended: float | None, now: float) -> float | None:
    end = now if state == "running" else ended
    return None if started is None or end is None else max(0.0, end - started)


def _age_s(run: RunDir, now: float) -> float | None:
    """Seconds since the run last wrote something, never negative (clocks of hosts differ)."""
    times = []
    for path in (run.progress, run.metrics, run.status):
        with contextlib.suppress(OSError):  # not every run logs metrics or knows its progress
            times.append(path.stat().st_mtime)
    return max(0.0, now - max(times)) if times else None


def _result(run: RunDir) -> Any:
    record = files.read_mapping(run.result)
    return record["value"] if "value" in record else record.get("repr")


def _reason(run: RunDir, state: State, status: Status) -> str | None:
    if state == "running":
        return None
    if state == "interrupted" and status.state == "running":
        who = stopped_by(run)
        if who is not None:
            return f"was ended by {who}"
        return "its process is gone and left no word of how it ended (killed, or the machine went down)"
    if status.reason is None and status.signal is not None:
        return f"killed by {status.signal}"
    return _text(status.reason)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
