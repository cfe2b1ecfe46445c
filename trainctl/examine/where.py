"""Selecting and sorting runs, on the page and for `trainctl ls`: `lr>0.01 norm=new state=failed`."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainctl.config.values import is_number
from trainctl.errors import SettingError
from trainctl.examine.columns import same
from trainctl.examine.row import Row
from trainctl.rundir.summary import Summary

METRIC = " (metric)"  # follows the name of a metric where a column of the same name is something else
_TERM = re.compile(r"\s*(?P<name>[^=!<>]+?)\s*(?P<sign>!=|<=|>=|=|<|>)\s*(?P<value>.*?)\s*", re.DOTALL)
_BETWEEN = re.compile(r"\s+(?!\(metric\))(?=[^\s=!<>]+(?: \(metric\))?\s*[=!<>])")
_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None, "none": None}

# what a run tells of itself beside its config, by the names that the page has for it; `trainctl ls` has others for some
OWN: Mapping[str, Callable[[Summary], Any]] = {
    "state": lambda run: run.state,
    "step": lambda run: run.step,
    "total": lambda run: run.total,
    "steps/s": lambda run: run.rate if run.state == "running" else None,
    "left": lambda run: run.eta_s,
    "took": lambda run: None if run.is_alive else run.duration_s,
    "slot": lambda run: run.slot,
    "host": lambda run: run.host,
    "attempt": lambda run: run.attempt,
    "edits": lambda run: run.edits or None,
    "reason": lambda run: run.why,
}
SAME = {"name": "run", "took_s": "took", "rate": "steps/s", "ETA": "left"}
Summaries = Mapping[Path, Summary]  # of runs, by where they are
_NONE: Summaries = {}


@dataclass(frozen=True, slots=True)
class Term:
    """One condition.

    Attributes:
        name: as `value_of` takes it.
        sign: `=`, `!=`, `<`, `<=`, `>` or `>=`; the last four are for numbers.
        value: a number, text, bool or None.
    """

    name: str
    sign: str
    value: Any

    def is_met(self, found: Any) -> bool:
        """Whether a value meets the condition; None, for a run that lacks the value, meets only `!=`."""
        if self.sign in ("=", "!="):
            return (found == self.value or str(found) == str(self.value)) is (self.sign == "=")
        return is_number(found) and _ORDERS[self.sign](found, self.value)


def terms_of(texts: Iterable[str]) -> list[Term]:
    """Parse conditions; a text may have several, separated by spaces, all of which must hold.

    >>> terms_of(["lr>0.01 norm=new"])
    [Term(name='lr', sign='>', value=0.01), Term(name='norm', sign='=', value='new')]

    Raises:
        SettingError: one of them is not a condition.
    """
    terms = []
    for text in (each for whole in texts for each in _BETWEEN.split(whole.strip())):
        match = _TERM.fullmatch(text)
        if match is None:
            raise SettingError(
                f"{text!r} is not a condition; one is KEY=VALUE, or KEY with !=, <, <=, > or >=, such as lr>0.01"
            )
        name, sign, value = match["name"], match["sign"], _parsed(match["value"])
        if sign in _ORDERS and not is_number(value):
            raise SettingError(
                f"{text!r}: {sign} compares numbers, and {value!r} is not a number; = and != take any value"
            )
        terms.append(Term(name, sign, value))
    return terms


def chosen(rows: Sequence[Row], terms: Sequence[Term], summaries: Summaries = _NONE) -> list[Row]:
    """Return the runs that meet all conditions.

    Raises:
        SettingError: no run at all has what a condition is about.
    """
    check_names(rows, [term.name for term in terms], summaries)
    values = {term.name: _values(rows, term.name, summaries) for term in terms}
    return [row for at, row in enumerate(rows) if all(term.is_met(values[term.name][at]) for term in terms)]


def in_order(rows: Sequence[Row], name: str, summaries: Summaries = _NONE) -> list[Row]:
    """Return the runs sorted by a value, downwards for `-name`; numbers before text, those without it last.

    Raises:
        SettingError: no run has it.
    """
    key, is_down = name.removeprefix("-"), name.startswith("-")
    check_names(rows, [key], summaries)
    having = dict(zip(map(id, rows), _values(rows, key, summaries), strict=True))
    numbers = [row for row in rows if is_number(having[id(row)])]
    texts = [row for row in rows if having[id(row)] is not None and not is_number(having[id(row)])]
    numbers.sort(key=lambda row: having[id(row)], reverse=is_down)
    texts.sort(key=lambda row: str(having[id(row)]), reverse=is_down)
    return [*numbers, *texts, *(row for row in rows if having[id(row)] is None)]


def _values(rows: Sequence[Row], name: str, summaries: Summaries) -> list[Any]:
    """Return what each run has in the table's column of that name: a parameter in which they differ before a metric.

    The metric of the same name is `NAME (metric)`, as its column is.
    """
    if name.endswith(METRIC) and not any(name in row.metrics for row in rows):
        metric = name.removesuffix(METRIC)
        return [row.metrics[metric].last if metric in row.metrics else None for row in rows]
    starts = [row.start.get(name) for row in rows if row.start]
    if len(set(map(same, starts))) > 1:
        return [row.end.get(name, row.start.get(name)) for row in rows]
    return [value_of(row, name, summaries.get(row.run.path)) for row in rows]


def value_of(row: Row, name: str, summary: Summary | None = None) -> Any:
    """Return what a run has by that name: its own name, what `Row.value` knows, an option, or a key at the run's end.

    A key may be given by its last parts where that leaves no doubt: `lr` for `optim.lr`. Of `OWN` the summary tells.
    """
    if name in ("name", "run"):
        return row.run.name
    if summary is not None and (read := OWN.get(SAME.get(name, name))) is not None:
        return read(summary)
    for value in (row.value(name), row.choices.get(name), row.end.get(name, row.start.get(name))):
        if value is not None:
            return value
    keys = [key for key in row.start if key.endswith(f".{name}")]
    return row.end.get(keys[0], row.start[keys[0]]) if len(keys) == 1 else None


def check_names(rows: Sequence[Row], names: Iterable[str], summaries: Summaries = _NONE) -> None:
    """Refuse names that none of the runs has; without any run every name passes.

    Raises:
        SettingError: a name is unknown.
    """
    for name in names:
        if rows and all(value is None for value in _values(rows, name, summaries)):
            known = sorted({key for row in rows for key in _names(row)} | (set(OWN) if summaries else set()))
            close = difflib.get_close_matches(name, known, n=3) or [key for key in known if key.endswith(f".{name}")]
            hint = f"; did you mean {' or '.join(close)}?" if close else f"; they have {', '.join(known[:20])}"
            raise SettingError(f"none of {len(rows)} runs has {name!r}{hint}")


def _names(row: Row) -> Iterable[str]:
    keys = [key for key in row.start if not key.startswith("trainctl.")]
    options = [group for group in row.choices if group.split("/")[0] not in ("hydra", "trainctl")]
    return ("name", "state", "started", "took_s", "edits", *row.results(), *row.metrics, *options, *keys)


def _parsed(text: str) -> Any:
    """Return a value as a command line has it; what is in quotes is text."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return _WORDS.get(text.lower(), text)
