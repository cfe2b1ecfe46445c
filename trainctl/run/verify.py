"""Whether two runs are the same run: all metrics bit for bit, the recorded edits, the return value."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from trainctl.config import yaml
from trainctl.config.changelog import loads
from trainctl.config.values import is_same
from trainctl.run import files
from trainctl.run.fingerprint import FINGERPRINT
from trainctl.run.result import read_result
from trainctl.run.rundir import RunDir

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison has found.

    Attributes:
        records: how many metric records are equal.
        fingerprint: the last hash of the weights that both have; None when none was taken.
        difference: the first thing that differs, in a sentence; None when nothing does.
    """

    records: int
    fingerprint: str | None
    difference: str | None


def compare(one: RunDir, other: RunDir, ignore: Collection[str] = ()) -> Verdict:
    """Compare a recorded run with its repetition, metric by metric in the order in which they were logged.

    Args:
        one: the recorded run.
        other: its repetition.
        ignore: names of metrics that tell about the clock and not the training.
    """
    records = 0
    weights: str | None = None
    left_out = {"t", *ignore}
    for before, now in zip_longest(files.read_lines(one.metrics), files.read_lines(other.metrics)):
        difference = _record_difference(before, now, left_out)
        if difference is not None:
            return Verdict(records, None, difference)
        records += 1
        weights = before.get(FINGERPRINT, weights)
    return Verdict(records, weights, _end_difference(one, other))


def _record_difference(
    before: Mapping[str, Any] | None, now: Mapping[str, Any] | None, left_out: Collection[str]
) -> str | None:
    if now is None or before is None:
        which, record = ("only the recorded run", before) if now is None else ("only the repetition", now)
        assert record is not None  # one of the two has a record
        return f"step {record.get('step')}: {which} has logged {', '.join(sorted(record.keys() - {'step', 't'}))}"
    if before.get("step") != now.get("step"):
        return f"step {before.get('step')}: recorded next was a record of this step, now one of step {now.get('step')}"
    for key in {**before, **now}:
        if key not in left_out and not _is_equal(before.get(key, _MISSING), now.get(key, _MISSING)):
            return f"step {before.get('step')}: {key} was {_said(before, key)}, now {_said(now, key)}"
    return None


def _end_difference(one: RunDir, other: RunDir) -> str | None:
    before, now = (loads(run.changelog.read_text(encoding="utf-8"), str(run.changelog)).edits for run in (one, other))
    for first, second in zip_longest(before, now):
        if first != second:
            edit = first or second
            assert edit is not None
            return f"step {edit.step}: the recorded edits differ"
    if not _is_equal(read_result(one), read_result(other)):
        return f"the return value was {read_result(one)!r}, now {read_result(other)!r}"
    return None


def _is_equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        # -0.0 == 0.0, and nan is not even itself
        return (math.isnan(one) and math.isnan(other)) or repr(one) == repr(other)
    return is_same(one, other)


def _said(record: Mapping[str, Any], key: str) -> str:
    return yaml.inline(record[key]) if key in record else "not logged"
