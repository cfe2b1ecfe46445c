"""The runs of a page as a table of values: filtered by words and conditions, sorted, grouped.

A run's values are computed again only when its row changed, so a table of ten thousand follows a few running ones.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainctl.errors import SettingError
from trainctl.examine.columns import apart, exact, given_value, pair
from trainctl.examine.row import Row
from trainctl.examine.where import METRIC, OWN, SAME, Term, check_names, terms_of, value_of
from trainctl.panel.data.run_view import RunRow
from trainctl.rundir.fields import number
from trainctl.rundir.status import ALIVE
from trainctl.text import changed

# New runs have their configs read this often: by a twentieth of a core, which examines some 2,000 known runs a second.
ASKS_S, EXAMINED_PER_S = 5.0, 100
MOST_SWEPT, MOST_EDITED, MOST_METRICS, MOST_RESULTS = 12, 6, 12, 12

# before and after what is swept, edited, returned and logged
FIRST = ("state", "run", "started")
LAST = ("step", "total", "steps/s", "left", "took", "last sign", "slot", "edits", "reason")
SECONDS = ("left", "took")
MOMENTS = ("started", "last sign")
NOT_GROUPED = ("run", *MOMENTS, *SECONDS, "step", "steps/s", "reason")

_TOKEN = re.compile(r"""(?:[^\s"']|"[^"]*"|'[^']*'|\s+\(metric\)(?=[=!<>]))+""")
_SPACED = re.compile(r"\s*(!=|<=|>=|=|<|>)\s*")


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One run: its row, its value in each column that it has, what its edits say of a column, and all its words."""

    row: RunRow
    values: dict[str, Any]
    overrides: dict[str, str]
    said: dict[str, str]
    words: str


class RunIndex:
    """What is known of all runs by column.

    Attributes:
        rows: all of them.
        swept: the keys in which they differ.
        is_waiting: whether the last filter asked for what is still being read.
        filled: how often values of configs were taken over.

    Args:
        examined: returns what an examiner knows of each run, its config too; None while it is being read.
    """

    def __init__(self, examined: Callable[[], Mapping[str, Row] | None] = dict) -> None:
        self._examined = examined
        self.is_waiting = False
        self.filled = 0
        self.rows: Mapping[str, RunRow] = {}
        self._entries: dict[str, RunEntry] = {}
        self._metrics: dict[str, str] = {}
        self._results: dict[str, None] = {}
        self._edited: dict[str, None] = {}
        self._having: dict[str, int] = {}
        self._differing: list[str] = []
        self.swept: list[str] = []
        self._shown: list[str] = []  # the keys of the columns of configs
        self._lacking: set[str] = set()  # runs that may not have a value in each of these
        self._of_config: dict[tuple[str, float | None], dict[str, Any]] = {}  # by run and its start
        self._asks_at = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> Iterable[RunEntry]:
        """The entry of each run."""
        return self._entries.values()

    def __getitem__(self, name: str) -> RunEntry:
        return self._entries[name]

    @property
    def columns(self) -> list[str]:
        """All columns that any run has something in."""
        return list(dict.fromkeys([*self.leading, *self.edited, *self._results, *self.metrics, *self.swept, *LAST]))

    @property
    def leading(self) -> list[str]:
        """The columns that come first: who a run is, and the swept keys that at least half of the runs have."""
        return [*FIRST, *(key for key in self.swept if 2 * self._having[key] >= len(self._entries))]

    @property
    def edited(self) -> list[str]:
        """The keys that were edited in some run, and are not swept."""
        return [key for key in self._edited if key not in self.swept][:MOST_EDITED]

    @property
    def metrics(self) -> list[str]:
        """The columns of the metrics, in the order in which they were found: `NAME (metric)` where a key has one."""
        return list(self._metrics.values())[:MOST_METRICS]

    @property
    def results(self) -> list[str]:
        """What the runs have returned: `result`, or a name for each part of a mapping."""
        return list(self._results)

    def follow(self, rows: Mapping[str, RunRow]) -> bool:
        """Take over rows; return whether any value is another one."""
        if rows is self.rows:
            return self._fill()
        before, self.rows = self._entries, rows
        made: dict[str, RunEntry] = {}
        is_other = before.keys() != rows.keys()
        for name, row in rows.items():
            entry = before.get(name)
            if entry is None or entry.row is not row:
                is_other = is_other or entry is None or entry.row.summary.overrides != row.summary.overrides
                entry = self._entry(name, row)
                self._lacking.add(name)
            made[name] = entry
        self._entries = made
        if is_other:
            self._find_swept()
        if self._name_metrics():
            self._entries = {name: self._entry(name, row) for name, row in rows.items()}
            self._lacking = set(self._entries)
        self._fill()
        return True

    def _fill(self) -> bool:
        """Give runs the values of their configs where they did not override or edit the key of a column.

        What is still being read, or not there yet, comes at a later call. Return whether any value came now.
        """
        shown = [*self.swept, *self.edited]
        if shown != self._shown:
            self._shown, self._lacking, self._of_config, self._asks_at = shown, set(self._entries), {}, 0.0
        lacks: dict[str, list[str]] = {}
        for name in self._lacking:
            if (entry := self._entries.get(name)) is not None:
                there = self._of_config.get((name, entry.row.summary.started), {})
                entry.values.update({key: value for key, value in there.items() if key not in entry.values})
                lacks[name] = [key for key in shown if key not in entry.values]
        self._lacking = {name for name, keys in lacks.items() if keys}
        if all(self._entries[name].row.summary.state == "queued" for name in self._lacking):
            return False  # a run that waits has no config
        if time.monotonic() < self._asks_at:
            return False
        rows = self._examined()
        if rows is not None:
            self._asks_at = time.monotonic() + max(ASKS_S, len(self._entries) / EXAMINED_PER_S)
        known = {
            name: row
            for name in self._lacking
            if rows and (row := rows.get(name)) is not None and (row.start or row.state not in ("queued", *ALIVE))
        }
        for name, row in known.items():
            entry, there = self._entries[name], {key: _of_row(row, key) for key in lacks[name]}
            self._of_config.setdefault((name, entry.row.summary.started), {}).update(there)
            entry.values.update(there)
        self._lacking -= known.keys()
        self.filled += bool(known)
        return bool(known)

    def has(self, column: str) -> bool:
        """Whether any run has a value in a column."""
        return any(entry.values.get(column) is not None for entry in self._entries.values())

    def is_of_numbers(self, column: str) -> bool:
        """Whether all values of a column are numbers, as far as the first few hundred runs tell."""
        entries = itertools.islice(self._entries.values(), 300)
        known = [value for entry in entries if (value := entry.values.get(column)) is not None]
        return bool(known) and column not in MOMENTS and all(number(value) is not None for value in known)

    def state_counts(self) -> dict[str, int]:
        """Count the runs by state."""
        counts: dict[str, int] = {}
        for entry in self._entries.values():
            state = entry.values["state"]
            counts[state] = counts.get(state, 0) + 1
        return counts

    def found(self, text: str) -> list[str]:
        """Return the names of the runs that have all words and meet all conditions of a text.

        Raises:
            SettingError: a condition is none, or no run has what it is about.
        """
        words, terms = parsed(text)
        self.is_waiting = False
        columns = {term.name: self._column(term.name) for term in terms}
        there = self._of_configs(columns)
        found = []
        for name, entry in self._entries.items():
            values = dict(there.get(name, {}))
            for one, column in columns.items():
                if column is not None and entry.values.get(column) is not None:
                    values[one] = entry.values[column]
            if all(word in entry.words for word in words) and all(term.is_met(values.get(term.name)) for term in terms):
                found.append(name)
        return found

    def _of_configs(self, columns: Mapping[str, str | None]) -> dict[str, dict[str, Any]]:
        """Return, by run, the values in its config of the names that have no column here, or one with gaps."""
        unknown = [name for name, column in columns.items() if column is None]
        keys = {key for entry in self._entries.values() for key in entry.overrides}
        default = [
            name
            for name, column in columns.items()
            if column in keys and any(entry.values.get(column) is None for entry in self._entries.values())
        ]
        if not self._entries or not (unknown or default):
            return {}
        rows = self._examined()
        self.is_waiting = rows is None
        if rows is None and unknown:
            raise SettingError(f"{', '.join(unknown)}: the configs of {len(self._entries):,} runs are being read …")
        there = {name: row for name, row in (rows or {}).items() if name in self._entries}
        if unknown and not there:
            known = ", ".join([*dict.fromkeys([*self.columns, *sorted(keys)])][:20])
            raise SettingError(f"none of {len(self._entries)} runs has {unknown[0]!r}; they have {known}")
        check_names(list(there.values()), unknown)
        return {run: {name: value_of(row, name) for name in (*unknown, *default)} for run, row in there.items()}

    def in_order(self, names: Iterable[str], column: str, *, is_down: bool) -> list[str]:
        """Sort runs: numbers before text, those without a value last; without a column alive, then newest."""
        names = list(names)
        if column not in self.columns:
            return sorted(names, key=self._place)
        having: dict[str, Any] = {name: self._entries[name].values.get(column) for name in names}
        numbers = [name for name in names if _is_number(having[name])]
        texts = [name for name in names if having[name] is not None and not _is_number(having[name])]
        numbers.sort(key=lambda name: having[name], reverse=is_down)
        texts.sort(key=lambda name: str(having[name]), reverse=is_down)
        return [*numbers, *texts, *(name for name in names if having[name] is None)]

    def groups(self, names: Iterable[str], column: str) -> dict[Any, list[str]]:
        """Group runs by their value in a column: numbers in order, then text, then runs without a value."""
        found: dict[Any, list[str]] = {}
        for name in names:
            found.setdefault(self._entries[name].values.get(column), []).append(name)
        order = sorted(
            found, key=lambda one: (one is None, not _is_number(one), one if _is_number(one) else 0, str(one))
        )
        return {value: found[value] for value in order}

    def _entry(self, name: str, row: RunRow) -> RunEntry:
        run = row.summary
        overrides = dict(pair(one) for one in run.overrides)
        values: dict[str, Any] = {key: typed(text) for key, text in overrides.items()}
        said = {}
        for key, each in list(run.changes.items())[:MOST_EDITED]:
            self._edited[key] = None
            values[key] = each[-1][1] if isinstance(each[-1][1], int | float | str) else changed(each[-1:])
            said[key] = changed(each)
        results = _results(run.result)
        if len(self._results) < MOST_RESULTS:
            self._results.update(dict.fromkeys(results))
        if len(self._metrics) < MOST_METRICS:
            self._metrics |= {metric: metric for metric in run.metrics if metric not in self._metrics}
        for metric, value in run.metrics.items():
            if metric in self._metrics or metric not in values:
                values[self._metrics.get(metric, metric)] = value
        values |= results
        own = {column: read(run) for column, read in OWN.items()}
        own |= {"run": name, "started": run.started, "last sign": row.seen}
        words = " ".join((name, run.state, *run.overrides, run.slot or "", run.why or "")).lower()
        return RunEntry(row, values | own, overrides, said, words)

    def _find_swept(self) -> None:
        """Find the keys in which runs differ; of the settings of trainctl only the seed counts."""
        seen: dict[str, set[str | None]] = {}
        counts: dict[str, int] = {}
        for entry in self._entries.values():
            for key, text in entry.overrides.items():
                seen.setdefault(key, set()).add(text)
                counts[key] = counts.get(key, 0) + 1
        self._having = counts
        self._differing = [key for key, values in seen.items() if len(values) > 1 or counts[key] < len(self._entries)]
        shown = (key for key in self._differing if key == "trainctl.seed" or not key.startswith("trainctl."))
        self.swept = list(itertools.islice(shown, MOST_SWEPT))

    def _name_metrics(self) -> bool:
        """Give the metrics their columns as `trainctl table` does; return whether any has another one than before."""
        taken = {*FIRST, *LAST, *OWN, *self._differing, *self._edited, *self._results}
        named = {metric: apart(metric, taken, "metric") for metric in self._metrics}
        before, self._metrics = self._metrics, named
        return named != before

    def _place(self, name: str) -> tuple[int, float, str]:
        run = self._entries[name].row.summary
        rank = 0 if run.is_alive else 1 if run.state == "queued" else 2
        return rank, -(run.started or 0.0), name

    def _column(self, name: str) -> str | None:
        """Return the column that a name refers to, if any run has it; the last parts of a key are enough."""
        name = SAME.get(name, name)
        if (metric := name.removesuffix(METRIC)) in self._metrics and metric != name:
            return self._metrics[metric]
        known = dict.fromkeys(
            [*self.columns, *OWN, *(key for entry in self._entries.values() for key in entry.overrides)]
        )
        ending = [key for key in known if key.endswith(f".{name}")]
        if name in known or not ending:
            return name if name in known else None
        if len(ending) > 1:
            raise SettingError(f"{name!r} may be {' or '.join(ending[:4])}")
        return ending[0]


def parsed(text: str) -> tuple[list[str], list[Term]]:
    """Split a filter into the words to search for and the conditions.

    >>> parsed("digits lr > 0.01 state=failed")[0], [term.name for term in parsed("digits lr > 0.01 state=failed")[1]]
    (['digits'], ['lr', 'state'])

    Raises:
        SettingError: a condition is none.
    """
    tokens = _TOKEN.findall(_SPACED.sub(r"\1", text))
    conditions = [token for token in tokens if re.search("[=<>]", token)]
    return [token.lower() for token in tokens if token not in conditions], [
        term for token in conditions for term in terms_of([token])
    ]


def _of_row(row: Row, key: str) -> Any:
    """Return the value of a key in a run's config, or the option of a config group, as an override would write it."""
    value = row.end.get(key, row.start.get(key, row.choices.get(key)))
    if value is None:
        return "null" if key in row.start else None
    return typed(exact(value))


def typed(text: str) -> Any:
    """Return an override's value as a number where it writes one, and a list, section or quoted text in one form."""
    if text[:1] in "[{'\"":
        return exact(given_value(text))
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def mean_of(entries: Sequence[RunEntry], column: str) -> tuple[float | None, float | None]:
    """Return mean and deviation of a sample over the runs that are done and have a number; None where there is none."""
    found = [
        float(number(value) or 0)
        for entry in entries
        if entry.values["state"] == "done" and _is_number(value := entry.values.get(column))
    ]
    if not found:
        return None, None
    if len(found) > 1 and min(found) == max(found):
        return found[0], 0.0  # not what a sum of rounded numbers is beside it
    mean = sum(found) / len(found)
    spread = sum((one - mean) ** 2 for one in found)
    return mean, (spread / (len(found) - 1)) ** 0.5 if len(found) > 1 else None


def _results(result: Any) -> dict[str, Any]:
    if isinstance(result, dict):
        return {f"result.{key}": value for key, value in list(result.items())[:MOST_RESULTS]}
    return {} if result is None else {"result": result}


def _is_number(value: object) -> bool:
    return number(value) is not None and value == value  # noqa: PLR0124  # nan has no place in an order
