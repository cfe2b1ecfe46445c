"""One run as the examiner sees it: what its files say, without any parser."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

from trainctl.config.document import MAX_DEPTH, read_document
from trainctl.errors import TrainctlError
from trainctl.examine import mlrunner
from trainctl.examine.columns import Parameters
from trainctl.examine.configs import choices_of, configs_of
from trainctl.examine.curve import Curve, Part, read_curves
from trainctl.run.rundir import RunDir
from trainctl.run.status import State, format_time
from trainctl.run.summary import read_record, summarize
from trainctl.track import tensorboard

OWN = ("state", "attempt", "started", "took_s", "edits")
AT_END = "@end"


@dataclass(slots=True)
class Row:
    """What is known of one run.

    Attributes:
        start: the leaves of the config at the start, by dotted key.
        end: those of them that were edited, as they were at the end.
        metrics: first, last, best and mean of each metric that was logged, or is in event files of TensorBoard.
        found: what parsers have found.
        problems: why something of this run could not be read.
    """

    run: RunDir
    state: State
    reason: str | None = None
    attempt: int = 1
    started: float | None = None
    took_s: float | None = None
    overrides: list[str] = field(default_factory=list)
    choices: dict[str, Any] = field(default_factory=dict)
    start: dict[str, Any] = field(default_factory=dict)
    end: dict[str, Any] = field(default_factory=dict)
    edits: int = 0
    result: Any = None
    metrics: dict[str, Curve] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def parameters(self) -> Parameters:
        return Parameters(self.start, self.overrides, self.choices)

    @property
    def why(self) -> str | None:
        """Why the run came to nothing, and what could not be read."""
        return "; ".join(part for part in (self.reason, *self.problems) if part) or None

    def results(self) -> dict[str, Any]:
        """Return the return value by name: `result`, or `result.accuracy` of each part of a mapping."""
        if isinstance(self.result, dict):
            return {f"result.{key}": value for key, value in self.result.items()}
        return {} if self.result is None else {"result": self.result}

    def value(self, name: str, part: Part = "last") -> Any:
        """Return what a parser found under that name, else that part of the return value, else of the metric.

        Else one of `OWN`, or the value of `KEY@end` at the run's end.
        """
        if name in self.found:
            return self.found[name]
        results = self.results()
        if name in results:
            return results[name]
        curve = self.metrics.get(name)
        if curve is not None:
            return getattr(curve, part)
        if name.endswith(AT_END):
            key = name.removesuffix(AT_END)
            return self.end.get(key, self.start.get(key))
        if name not in OWN:
            return None
        value = getattr(self, name)
        return format_time(value) if name == "started" and value is not None else value

    def to_plain(self) -> dict[str, Any]:
        """Return what `from_plain` makes a row of; nothing of parsers."""
        return {**asdict(self), "run": None, "found": {}}

    @classmethod
    def from_plain(cls, run: RunDir, plain: dict[str, Any]) -> Row:
        metrics = {name: Curve(**curve) for name, curve in plain["metrics"].items()}
        return cls(**{**plain, "run": run, "metrics": metrics})


def read_row(run: RunDir) -> Row:
    """Read a run's files. Never raises: what cannot be read is a problem of the row."""
    row = Row(run, "queued")
    if mlrunner.is_output(run.path):
        with _problem_of(row, "the run"):
            row.state, row.reason, row.start = mlrunner.read_output(run.path)
        for name, is_unread in (("param", not row.start), ("stat", row.state == "queued")):
            if is_unread and (why := _unread(run.path / name)):
                row.problems.append(f"{name}: {why}")
        return row
    with _problem_of(row, "the run"):
        _read_summary(row)
    if row.state == "queued" and row.result is not None and not row.run.status.exists():
        row.problems.append("what became of it is not known: it has a result.yaml, but no status.yaml")
    for path, is_unread in ((run.status, row.started is None), (run.result, row.result is None)):
        if is_unread and (why := _unread(path)):
            row.problems.append(f"{path.name}: {why}")
    with _problem_of(row, run.changelog.name):
        row.start, row.end, row.edits = configs_of(run)
        if row.state != "queued" and not (row.start or row.overrides or run.changelog.exists() or run.config.exists()):
            row.problems.append("its config is not known: it has no changelog.yaml, nor a .hydra/config.yaml")
    with _problem_of(row, "hydra.yaml"):
        row.choices = choices_of(run)
    with _problem_of(row, run.metrics.name):
        row.metrics = read_curves(run.metrics)
    with _problem_of(row, "the event files"):
        for name, values in tensorboard.read_scalars(run.path, but_ours=True).items():
            if name not in row.metrics and values:
                row.metrics[name] = Curve()
                row.metrics[name].add(values)
    return row


def _read_summary(row: Row) -> None:
    summary = summarize(row.run)
    row.reason, row.attempt, row.started = summary.reason, summary.attempt, summary.started
    row.took_s, row.overrides, row.edits, row.result = (
        summary.duration_s, summary.overrides, summary.edits, summary.result,
    )  # fmt: skip
    if summary.state in get_args(State):
        row.state = summary.state
    else:
        row.problems.append(f"{row.run.status.name}: {summary.state!r:.60} is not a state")
    if _is_deep(row.result):
        row.result = None
        row.problems.append(f"{row.run.result.name}: it is nested more than {MAX_DEPTH} deep")
    if not row.overrides and not read_record(row.run, "name", "overrides") and (why := _unread(row.run.run)):
        row.problems.append(f"{row.run.run.name}: {why}")


@contextlib.contextmanager
def _problem_of(row: Row, what: str) -> Iterator[None]:
    """Take down what is raised as a problem of the row."""
    try:
        yield
    except TrainctlError as error:
        row.problems.append(str(error))
    except OSError as error:
        row.problems.append(f"{what}: {error.strerror or error}")
    except Exception as error:  # noqa: BLE001  # a file may hold anything, and parsers then raise anything
        row.problems.append(f"{what}: {type(error).__name__}: {' '.join(str(error).split())}"[:500])


def _is_deep(value: Any, left: int = MAX_DEPTH) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return left == 0 or any(_is_deep(one, left - 1) for one in inner)


def _unread(path: Path) -> str | None:
    """Say why a file is no YAML mapping; None when it is one, or is not there."""
    try:
        found = read_document(path.read_text(encoding="utf-8"), TrainctlError, aliases=True)
    except FileNotFoundError:
        found = None
    except OSError as error:
        return error.strerror or str(error)
    except TrainctlError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  # PyYAML raises anything where a tag and its value do not fit
        return f"it is not YAML ({' '.join(str(error).split())[:200]})"
    if isinstance(found, dict) or not os.path.lexists(path):
        return None
    return "it holds no mapping" if path.exists() else "it is a link to nothing"
