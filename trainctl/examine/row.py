"""One run in the examiner: the data of its files, without parsers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

from trainctl.config import changelog
from trainctl.config.keys import leaves
from trainctl.config.masking import Masking
from trainctl.config.settings_node import NODE
from trainctl.config.yaml import read_document
from trainctl.errors import ChangelogError, TrainctlError, UnreadableError
from trainctl.examine import mlrunner
from trainctl.examine.columns import Parameters
from trainctl.examine.curve import MetricSummary, Part, read_curves
from trainctl.rundir import files
from trainctl.rundir.masked import texts
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Seen, format_time
from trainctl.rundir.summary import summarize
from trainctl.track import tensorboard

OWN = ("state", "attempt", "started", "took_s", "edits")
AT_END = "@end"


@dataclass(slots=True)
class Row:
    """What is known of one run.

    Attributes:
        start: the leaves of the config at the start, by dotted key.
        end: those of them that were edited, as they were at the end.
        changes: the values that each edited key has had, with their steps, the first being 0.
        metrics: first, last, best and mean of each metric that was logged, or is in event files of TensorBoard.
        found: what parsers have found.
        problems: why something of this run could not be read.
    """

    run: RunDir
    state: Seen
    reason: str | None = None
    attempt: int = 1
    started: float | None = None
    took_s: float | None = None
    overrides: list[str] = field(default_factory=list)
    choices: dict[str, Any] = field(default_factory=dict)
    start: dict[str, Any] = field(default_factory=dict)
    end: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)
    edits: int = 0
    result: Any = None
    metrics: dict[str, MetricSummary] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def parameters(self) -> Parameters:
        return Parameters(self.start, self.overrides, self.choices, self.run.path)

    @property
    def why(self) -> str | None:
        """Why the run failed, and what could not be read."""
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
        if name.startswith("result"):
            key = name.removeprefix("result.")
            if isinstance(self.result, dict) and key != name and key in self.result:
                return self.result[key]  # without a look at all of them: there may be thousands
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
        metrics = {name: MetricSummary(**curve) for name, curve in plain["metrics"].items()}
        return cls(**{**plain, "run": run, "metrics": metrics})


def read_row(run: RunDir) -> Row:
    """Read a run's files. Never raises: what cannot be read is a problem of the row."""
    row = Row(run, "queued")
    if mlrunner.is_output(run.path):
        with _problem_of(row, "the run"):
            row.state, row.reason, row.start = mlrunner.read_output(run.path, row.problems)
        return row
    masking = _read_summary(row)
    if row.run.shut():
        return row
    if row.state == "queued" and row.result is not None and not row.run.status.exists():
        row.problems.append("what became of it is not known: it has a result.yaml, but no status.yaml")
    with _problem_of(row, run.changelog.name):
        row.start, row.end, row.edits = configs_of(run)
        if row.state != "queued" and not (row.start or row.overrides or run.changelog.exists() or run.config.exists()):
            row.problems.append("its config is not known: it has no changelog.yaml, nor a .hydra/config.yaml")
    with _problem_of(row, "hydra.yaml"):
        row.choices = choices_of(run)
    with _problem_of(row, run.metrics.name):
        row.metrics = read_curves(run.metrics)
    with _problem_of(row, "the event files"):
        for name, values in tensorboard.read_scalars(run.path, is_foreign_only=True).items():
            if name not in row.metrics and values:
                row.metrics[name] = MetricSummary()
                row.metrics[name].add(values)
    row.problems = list(dict.fromkeys(texts(masking, row.problems)))  # two readers of one file say the same
    row.start, row.end = masking.values(row.start), masking.values(row.end)
    return row


def _read_summary(row: Row) -> Masking:
    """Take over what a table shows, secrets masked; return the masking."""
    summary = summarize(row.run)
    row.state, row.reason, row.problems = summary.state, summary.reason, summary.problems
    row.attempt, row.started, row.took_s = summary.attempt, summary.started, summary.duration_s
    row.overrides, row.edits, row.result = summary.overrides, summary.edits, summary.result
    row.changes = summary.changes
    return summary.masking


@contextlib.contextmanager
def _problem_of(row: Row, what: str) -> Iterator[None]:
    """Record an error as a problem of the row."""
    try:
        yield
    except UnreadableError as error:
        row.problems.append(f"{what}: {error.why}")
    except TrainctlError as error:
        row.problems.append(str(error))
    except OSError as error:
        row.problems.append(f"{what}: {error.strerror or error}")
    except Exception as error:  # noqa: BLE001  # a file may hold anything, and parsers then raise anything
        row.problems.append(f"{what}: {type(error).__name__}: {' '.join(str(error).split())}"[:500])


_BASE = re.compile(r"\A(?:#[^\n]*\n)*0:[^\n{]*\n((?:  [^\n]*\n|\n)+)#\.\n\Z")
_BLOCK = re.compile(r"^  (?! |- |-$|\?|#|[\"'&*!|>%@`{\[])", re.MULTILINE)
_SETTINGS = re.compile(rf"^  {NODE}:\n((?:    [^\n]*\n)*)", re.MULTILINE)
_CHOICES = re.compile(r"^    choices:\n((?:      [^\n]*\n)*)", re.MULTILINE)


def configs_of(run: RunDir) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Return the leaves of the config at the start, those that edits had changed at the end, and the number of edits.

    Without a changelog Hydra's own record is the config; without that it is empty.

    Raises:
        ChangelogError: the changelog is not one. UnreadableError: it, or where there is none Hydra's record, cannot be
            read.
    """
    try:
        text = files.read_bytes(run.changelog, files.MOST_CHANGELOG).decode(errors="replace")
    except FileNotFoundError:
        return _hydra_config(run), {}, 0
    base = base_of(text)
    if base is not None:
        return base, {}, 0
    log = changelog.loads(text.encode(), run.changelog.name)
    start, end = leaves(log.base), leaves(log.at(log.last_step))
    changed = {key for edit in log.edits for key in edit.values}
    below = tuple(f"{key}." for key in changed)
    return start, {key: value for key, value in end.items() if key in changed or key.startswith(below)}, len(log.edits)


def base_of(text: str) -> dict[str, Any] | None:
    r"""Read a changelog without edits, entry by entry; None when it is not in the form that trainctl writes.

    >>> base_of("0:\n  optim: {lr: 0.1}\n  seed: 1\n#.\n")
    {'optim.lr': 0.1, 'seed': 1}
    """
    match = _BASE.match(text)
    if match is None:
        return None
    body = match[1]
    starts = [found.start() for found in _BLOCK.finditer(body)]
    if not starts or starts[0] != 0:
        return None
    found: dict[str, Any] = {}
    for start, end in zip(starts, [*starts[1:], len(body)], strict=True):
        entry = _entry(body[start:end])
        if entry is None or entry[0] in found:
            return None
        found[entry[0]] = entry[1]
    return {key: value for values in found.values() for key, value in values.items()}


@lru_cache(maxsize=4096)
def _entry(text: str) -> tuple[Any, dict[str, Any]] | None:
    try:
        entry = read_document(text, ValueError)
    except ValueError:  # the whole file is read then, for its error
        return None
    if not isinstance(entry, dict) or len(entry) != 1:
        return None
    return next(iter(entry)), leaves(entry)


def _hydra_config(run: RunDir) -> dict[str, Any]:
    try:
        config = _whole(files.read_bytes(run.config).decode(errors="replace"))
    except FileNotFoundError:
        return {}
    except UnreadableError as error:
        raise ChangelogError(str(error)) from error
    except ValueError as error:
        raise ChangelogError(f"{run.config}: {error}") from error
    return {**leaves(config), **_settings(run)} if isinstance(config, dict) else {}


def _settings(run: RunDir) -> dict[str, Any]:
    """Return the settings of trainctl that a run had, which Hydra's record has apart from the task's config."""
    settings = _part_of_hydras(run, _SETTINGS)
    return leaves({NODE: settings}) if settings is not None else {}


def _part_of_hydras(run: RunDir, pattern: re.Pattern[str]) -> dict[Any, Any] | None:
    """Return a mapping of Hydra's own record of a run, by the pattern of its text; None if it cannot be read."""
    try:
        match = pattern.search(files.read_bytes(run.config.parent / "hydra.yaml").decode(errors="replace"))
        found = _whole(match[1]) if match else None
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


@lru_cache(maxsize=64)
def _whole(text: str) -> Any:
    """Read a document of Hydra's; raise ValueError."""
    return read_document(text, ValueError)


def choices_of(run: RunDir) -> dict[str, Any]:
    """Return which option of each config group the run took; Hydra's own groups left out."""
    found = _part_of_hydras(run, _CHOICES) or {}
    return {str(key): value for key, value in found.items() if not str(key).startswith("hydra/")}
