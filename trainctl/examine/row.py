"""One run as the examiner sees it: what its files say, without any parser."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from trainctl.errors import ChangelogError
from trainctl.examine import mlrunner
from trainctl.examine.columns import Parameters
from trainctl.examine.configs import choices_of, configs_of
from trainctl.examine.curve import Curve, Part, read_curves
from trainctl.run.rundir import RunDir
from trainctl.run.status import State
from trainctl.run.summary import summarize
from trainctl.track import tensorboard


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
        """Return what a parser found under that name, else that part of the return value, else of the metric."""
        if name in self.found:
            return self.found[name]
        results = self.results()
        if name in results:
            return results[name]
        curve = self.metrics.get(name)
        return None if curve is None else getattr(curve, part)

    def to_plain(self) -> dict[str, Any]:
        """Return what `from_plain` makes a row of; nothing of parsers."""
        return {**asdict(self), "run": None, "found": {}}

    @classmethod
    def from_plain(cls, run: RunDir, plain: dict[str, Any]) -> Row:
        metrics = {name: Curve(**curve) for name, curve in plain["metrics"].items()}
        return cls(**{**plain, "run": run, "metrics": metrics})


def read_row(run: RunDir) -> Row:
    """Read a run's files. Never raises: what cannot be read is a problem of the row."""
    if mlrunner.is_output(run.path):
        state, reason, params = mlrunner.read_output(run.path)
        return Row(run, state, reason, start=params)
    summary = summarize(run)
    row = Row(
        run,
        summary.state,
        summary.reason,
        attempt=summary.attempt,
        started=summary.started,
        took_s=summary.duration_s,
        overrides=summary.overrides,
        edits=summary.edits,
        result=summary.result,
    )
    try:
        row.start, row.end, row.edits = configs_of(run)
        row.choices = choices_of(run)
    except ChangelogError as error:
        row.problems.append(str(error))
    try:
        row.metrics = read_curves(run.metrics)
    except OSError as error:
        row.problems.append(f"{run.metrics.name}: {error.strerror or error}")
    for name, values in tensorboard.read_scalars(run.path, but_ours=True).items():
        if name not in row.metrics and values:
            row.metrics[name] = Curve()
            row.metrics[name].add(values)
    return row
