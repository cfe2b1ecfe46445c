"""Comparing a run with its repetition: metrics bit for bit, recorded edits, return value, a hash of the model state."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from trainctl.config import yaml
from trainctl.config.values import is_same
from trainctl.rundir.edits import read_file
from trainctl.rundir.events import read_events
from trainctl.rundir.metrics import read_metrics
from trainctl.rundir.paths import RunDir
from trainctl.rundir.result import read_result
from trainctl.rundir.status import read_status
from trainctl.rundir.summary import read_record

FINGERPRINT = "fingerprint"  # the name of the metric
_DIGITS = 32


def fingerprint(model: Any) -> str:
    """Return a hash of all arrays and values in `model`, which is equal exactly if names, types, shapes and bits are.

    Args:
        model: what has a `state_dict()`, an array of NumPy, a tensor, a plain value, or mappings and lists of these.

    Raises:
        TypeError: it holds something else.

    >>> fingerprint({"a": [1.0, 2]}) == fingerprint({"a": [1.0, 2.0]})
    False
    """
    digest = hashlib.sha256()
    for part in _parts(model, "model"):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:_DIGITS]


def _parts(value: Any, path: str) -> Iterator[bytes]:
    """Yield what is hashed: each leaf's path, what kind it is, and its bits."""
    if callable(getattr(value, "state_dict", None)):
        yield from _parts(value.state_dict(), path)
    elif isinstance(value, Mapping):
        yield f"{path}: mapping of {len(value)}".encode()
        for key in sorted(value, key=repr):
            yield from _parts(value[key], f"{path}[{key!r}]")
    elif isinstance(value, list | tuple):
        yield f"{path}: list of {len(value)}".encode()
        for place, item in enumerate(value):
            yield from _parts(item, f"{path}[{place}]")
    elif value is None or isinstance(value, bool | int | float | str | bytes):
        yield f"{path}: {type(value).__name__} {value!r}".encode(errors="backslashreplace")
    else:
        yield from _array(value, path)


def _array(value: Any, path: str) -> Iterator[bytes]:
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(value, torch.Tensor):
        whole = value.detach().cpu().contiguous()
        yield f"{path}: {value.dtype} {tuple(value.shape)}".encode()
        yield whole.flatten().view(torch.uint8).numpy().tobytes()  # bfloat16 has no other way to NumPy
    elif numpy is not None and isinstance(value, numpy.ndarray | numpy.generic) and not value.dtype.hasobject:
        yield f"{path}: {value.dtype.str} {value.shape}".encode()
        yield value.tobytes()
    else:
        kind = type(value)
        raise TypeError(
            f"live.fingerprint: {path} is of type {kind.__module__}.{kind.__qualname__}; allowed are arrays, tensors, "
            "plain values, mappings and lists of these, and what has a state_dict()"
        )


RESUMED = "resumed_after"  # in `run.yaml`: the steps after which further attempts went on
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of a comparison.

    Attributes:
        records: how many metric records are equal.
        fingerprint: the last hash of the weights that both have; None when none was taken.
        difference: the first thing that differs, in a sentence; None when nothing does.
        lost: how many records of the recorded run were lost when it was killed, before a step after which it resumed.
    """

    records: int
    fingerprint: str | None
    difference: str | None
    lost: int = 0


def compare(one: RunDir, other: RunDir, ignore: Collection[str] = ()) -> Comparison:
    """Compare a recorded run with its repetition, metric by metric in the order in which they were logged.

    Args:
        one: the recorded run.
        other: its repetition.
        ignore: names of metrics that depend on the clock.
    """
    records = 0
    weights: str | None = None
    left_out = {"t", *ignore}
    lost = 0
    for before, now, passed in _pairs(_rows(one, left_out), _rows(other, left_out), _resumed_after(one)):
        lost += passed
        difference = _record_difference(before, now)
        if difference is not None:
            return Comparison(records, None, difference)
        records += 1
        assert before is not None  # else it had differed
        weights = before.get(FINGERPRINT, weights)
    return Comparison(records, weights, _end_difference(one, other), lost)


def _resumed_after(run: RunDir) -> list[int]:
    steps = read_record(run, RESUMED).get(RESUMED)
    return [step for step in steps if type(step) is int] if isinstance(steps, list) else []


def _pairs(
    one: Iterator[dict[str, Any]], other: Iterator[dict[str, Any]], resumed: Collection[int]
) -> Iterator[tuple[dict[str, Any] | None, dict[str, Any] | None, int]]:
    """Yield each record with the repetition's, and how many of the repetition's were passed over before it.

    A kill takes what was logged in the last moments. If the run then resumed after a later step than the last that is
    left, the records between are lost, and tell nothing.
    """
    last = 0
    for before in one:
        first, passed = _step(before), 0
        now = next(other, None)
        while now is not None and any(last <= step < first and _step(now) <= step for step in resumed):
            now, passed = next(other, None), passed + 1
        yield before, now, passed
        last = first
    for now in other:
        yield None, now, 0


def _step(record: Mapping[str, Any]) -> int:
    step = record.get("step")
    return step if type(step) is int else 0


def _rows(run: RunDir, left_out: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield the records to compare, without ignored metrics."""
    for record in read_metrics(run.metrics):
        kept = {key: value for key, value in record.items() if key not in left_out}
        if kept.keys() - {"step"}:
            yield kept


def _record_difference(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str | None:
    if now is None or before is None:
        which, record = ("only the recorded run", before) if now is None else ("only the repetition", now)
        assert record is not None  # one of the two has a record
        return f"step {record.get('step')}: {which} has logged {', '.join(sorted(record.keys() - {'step'}))}"
    if before.get("step") != now.get("step"):
        return f"step {before.get('step')}: recorded next was a record of this step, now one of step {now.get('step')}"
    for key in {**before, **now}:
        if not _is_equal(before.get(key, _MISSING), now.get(key, _MISSING)):
            return f"step {before.get('step')}: {key} was {_said(before, key)}, now {_said(now, key)}"
    return None


def _end_difference(one: RunDir, other: RunDir) -> str | None:
    before, now = (read_file(run.changelog, "").edits for run in (one, other))
    for first, second in zip_longest(before, now):
        if first != second:
            edit = first or second
            assert edit is not None
            return f"step {edit.step}: the recorded edits differ"
    unread = _reading_difference(one, other)
    if unread is not None:
        return unread
    if not _is_equal(read_result(one), read_result(other)):
        return f"the return value was {read_result(one)!r}, now {read_result(other)!r}"
    return None


def _reading_difference(one: RunDir, other: RunDir) -> str | None:
    """Return the first edited key that only one of the two runs has read.

    None if a run was resumed: reads of the edits of its earlier attempts were not watched to the end.
    """
    if any(status is not None and status.attempt > 1 for status in map(read_status, (one, other))):
        return None
    before, now = (_readings(run) for run in (one, other))
    for place in sorted(before.keys() & now.keys()):
        step, key = place
        if (before[place] is None) != (now[place] is None):
            said = ["not read" if found is None else f"read at step {found}" for found in (before[place], now[place])]
            return f"step {step}: the edited {key} was {said[0]}, now {said[1]}"
    return None


def _readings(run: RunDir) -> dict[tuple[int, str], int | None]:
    """Return when each edited key was first read after its edit, where that is known."""
    events = read_events(run) if run.events.exists() else []
    told = {event.id: event for event in events if event.state == "read"}
    return {(event.step or 0, key): step for event in told.values() for key, step in (event.read or {}).items()}


def _is_equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        # -0.0 == 0.0, and nan is not even itself
        return (math.isnan(one) and math.isnan(other)) or repr(one) == repr(other)
    return is_same(one, other)


def _said(record: Mapping[str, Any], key: str) -> str:
    return yaml.inline(record[key]) if key in record else "not logged"
