"""Where runs differ: in their configs as they are now, and in what was edited when."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from trainctl.config import keys
from trainctl.config.values import is_same
from trainctl.panel.data.run_view import RunView
from trainctl.panel.html import html
from trainctl.rundir.edits import values_by_step
from trainctl.text import count, one_line


def config_now(view: RunView) -> dict[str, Any]:
    """Return a run's config by dotted key, after its last edit; without the settings of trainctl."""
    log = view.changelog
    values = keys.leaves(log.at(log.last_step)) if log is not None else view.values
    return {key: value for key, value in values.items() if keys.split(key)[0] != "trainctl"}


def config_difference(*views: RunView) -> list[tuple[str, ...]]:
    """Return the keys whose values differ, with each run's as text; empty where a run has no such key."""
    configs = [config_now(view) for view in views]
    return [
        (key, *(one_line(config[key]) if key in config else "" for config in configs))
        for key in dict.fromkeys(key for config in configs for key in config)
        if not _is_same_in_all(configs, key)
    ]


def _is_same_in_all(configs: Sequence[Mapping[str, Any]], key: str) -> bool:
    return all(key in one for one in configs) and all(is_same(configs[0][key], one[key]) for one in configs[1:])


def edits_by_step(*views: RunView) -> list[tuple[str, ...]]:
    """Return the steps at which any run was edited, with what each run's edits there changed, from what to what."""
    changes = [values_by_step(view.changelog) if view.changelog is not None else {} for view in views]
    told: dict[int, list[list[str]]] = {}
    for place, of_run in enumerate(changes):
        for key, values in of_run.items():
            for before, after in itertools.pairwise(values):
                said = f"{key} {one_line(before[1])} → {one_line(after[1])}"
                told.setdefault(after[0], [[] for _ in views])[place].append(said)
    return [(count(step), *("; ".join(each) for each in told[step])) for step in sorted(told)]


def difference_table(rows: list[tuple[Any, ...]], heads: tuple[str, ...], same: str) -> str:
    """Write differences as an HTML table; `same` is the text when there are none."""
    if not rows:
        return f'<p class="dim">{html(same)}</p>'
    top = "".join(f"<th>{html(head)}</th>" for head in heads)
    body = "".join(
        "<tr>" + "".join(f'<td class="mono value">{html(cell)}</td>' for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll" tabindex="0"><table><tr>{top}</tr>{body}</table></div>'
