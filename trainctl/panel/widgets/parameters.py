"""How parameters relate to the outcome of finished runs: parallel coordinates, importance, trend."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import panel

from trainctl.examine.columns import is_seed
from trainctl.panel.data.line_groups import colouring
from trainctl.panel.data.run_index import RunIndex
from trainctl.panel.data.run_view import RunRow
from trainctl.panel.pages.theme import BASE
from trainctl.panel.server._bokeh import tell
from trainctl.panel.widgets.cards import NUMBERS
from trainctl.rundir.fields import number
from trainctl.text import value as short

MOST_RUNS = 2000
MOST_WORDS = 30  # distinct words of a parameter; with more, a plot says nothing
GROUPS = 6  # groups of numbers, to compute their importance
TOO_FEW = "How parameters relate to the outcome is shown here once two runs with different parameters are done."


class RelationsView(panel.custom.JSComponent):  # type: ignore[misc]  # Panel is untyped
    """Draws what it is sent, and reports what a person does; see `parameters.js`."""

    _esm = NUMBERS + Path(__file__).with_name("parameters.js").read_text()


class Relations:
    """Shows the finished runs among those that pass the filter.

    Args:
        outcome: the outcome named by the link; empty: the first that the runs have.
        key: the parameter that it is drawn against.
        remember: is called with both when a person has chosen.
        choose: is called with the runs that a person has brushed and then chosen.
    """

    def __init__(
        self,
        outcome: str,
        key: str,
        remember: Callable[[str, str], None],
        choose: Callable[[list[str]], None],
    ) -> None:
        self._outcome, self._key = outcome, key
        self._remember, self._choose = remember, choose
        self._index = RunIndex()
        self._rows: Mapping[str, RunRow] = {}
        self._filled = 0
        self._names: list[str] = []
        self._is_ready = False
        self._sent = ""
        self.view = RelationsView(stylesheets=[BASE], sizing_mode="stretch_width", margin=0)
        self.view.on_msg(self._told)

    def look(self, index: RunIndex, names: Sequence[str]) -> None:
        """Draw again when other runs are done."""
        if index.rows is not self._rows or index.filled != self._filled or list(names) != self._names:
            self._index, self._rows, self._filled, self._names = index, index.rows, index.filled, list(names)
            self._send()

    def _told(self, event: Any) -> None:
        what = event.data if isinstance(event.data, dict) else {}
        kind, name = what.get("kind"), what.get("name")
        if kind == "ready":
            self._is_ready, self._sent = True, ""
            self._send()
        elif kind == "outcome" and isinstance(name, str):
            self._outcome = name
            self._remember(self._outcome, self._key)
            self._send()
        elif kind == "key" and isinstance(name, str):
            self._key = name
            self._remember(self._outcome, self._key)
        elif kind == "choose" and isinstance(what.get("names"), list):
            wanted = set(map(str, what["names"]))
            self._choose([name for name in self._names if name in wanted])

    def _send(self) -> None:
        if not self._is_ready:
            return
        text = json.dumps(relations_of(self._index, self._names, self._outcome) | {"key": self._key})
        if text != self._sent:
            self._sent = text
            tell(self.view, text)


def relations_of(index: RunIndex, names: Sequence[str], wanted: str) -> dict[str, Any]:
    """Return what is drawn: the outcomes, what each parameter explains, and each run's place in all."""
    entries = [index[name] for name in names if index[name].values["state"] == "done"][:MOST_RUNS]
    outcomes = [
        name
        for name in (*index.results, *index.metrics)
        if any(_finite(one.values.get(name)) is not None for one in entries)
    ]
    outcome = wanted if wanted in outcomes else next(iter(outcomes), "")
    entries = [one for one in entries if _finite(one.values.get(outcome)) is not None]
    values = [float(one.values[outcome]) for one in entries]
    keys: list[dict[str, Any]] = []
    columns: list[tuple[list[float | None], list[str]]] = []
    for key in index.swept:
        given = [one.values.get(key) for one in entries]
        texts = [short(one) for one in given]
        is_number = all(one is None or _finite(one) is not None for one in given)
        words = None if is_number else list(dict.fromkeys(text for text in texts if text))
        if len(set(filter(None, texts))) < 2 or len(words or ()) > MOST_WORDS:
            continue
        if words is None:
            places = [_finite(one) for one in given]
        else:
            places = [float(words.index(text)) if text else None for text in texts]
        share = 0.0 if is_seed(key) else explained(places, values, is_number=words is None)
        keys.append({"name": key, "words": words, "share": share})
        columns.append((places, texts))
    colours = colouring(outcome, values).colours
    return {
        "outcomes": outcomes,
        "outcome": outcome,
        "keys": keys,
        "empty": "" if keys and len(entries) > 1 else TOO_FEW,
        "runs": [
            {
                "name": (name := str(entry.values["run"])),
                "href": f"run/{quote(name, safe='')}",
                "values": [places[at] for places, _ in columns],
                "texts": [texts[at] for _, texts in columns],
                "outcome": values[at],
                "color": colours[at],
            }
            for at, entry in enumerate(entries)
        ],
    }


def explained(places: Sequence[float | None], outcome: Sequence[float], *, is_number: bool) -> float:
    """Return the share of an outcome's variance that lies between groups, corrected for chance (epsilon squared).

    Numbers are gathered in at most `GROUPS` groups of equal size.

    >>> explained([0, 0, 1, 1], [1.0, 1.1, 5.0, 5.1], is_number=False) > 0.99
    True
    >>> explained([0, 1, 0, 1], [1.0, 1.1, 5.0, 5.1], is_number=False)
    0.0
    """
    pairs = sorted((place, one) for place, one in zip(places, outcome, strict=True) if place is not None)
    distinct = sorted({place for place, _ in pairs})
    size = -(-len(distinct) // GROUPS) if is_number and len(distinct) > GROUPS else 1
    group_of = {place: at // size for at, place in enumerate(distinct)}
    groups: dict[int, list[float]] = {}
    for place, one in pairs:
        groups.setdefault(group_of[place], []).append(one)
    number_of_runs, number_of_groups = len(pairs), len(groups)
    if number_of_groups < 2 or number_of_runs <= number_of_groups:
        return 0.0
    mean = sum(one for _, one in pairs) / number_of_runs
    total = sum((one - mean) ** 2 for _, one in pairs)
    within = sum((one - sum(each) / len(each)) ** 2 for each in groups.values() for one in each)
    if not 0 < total < math.inf:
        return 0.0
    chance = (number_of_groups - 1) * within / (number_of_runs - number_of_groups)
    return max(0.0, min(1.0, (total - within - chance) / total))


def _finite(value: Any) -> float | None:
    found = number(value)
    return float(found) if found is not None and math.isfinite(found) else None
