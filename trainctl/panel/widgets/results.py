"""The results of a sweep: one row for runs that differ in their seed only, with mean and standard deviation; export."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pandas as pd
import panel
import panel_material_ui as pmui

from trainctl.config.values import is_number
from trainctl.examine.columns import is_seed, varying
from trainctl.examine.frame import with_means
from trainctl.examine.writing import keys_of, shown, write
from trainctl.panel.data.run_view import RunRow
from trainctl.panel.html import html
from trainctl.panel.pages.theme import STYLE
from trainctl.panel.widgets.pending import set_object
from trainctl.rundir.fields import number

MAX_METRICS = 8
MAX_SWEPT = 12


def results_of(rows: Mapping[str, RunRow]) -> pd.DataFrame:
    """Group the runs that are done by what is swept besides the seed, in order of first appearance."""
    swept = swept_of(rows)
    keys = [key for key in swept if not is_seed(key)]
    groups: dict[tuple[str, ...], list[RunRow]] = {}
    for at, row in enumerate(rows.values()):
        if row.summary.state == "done":
            groups.setdefault(tuple(swept[key][at] or "" for key in keys), []).append(row)
    done = [(at, row) for at, found in enumerate(groups.values()) for row in found]
    return with_means(
        {key: [group[at] for group in groups] for at, key in enumerate(keys)},
        {"runs": [len(found) for found in groups.values()]},
        [at for at, _ in done],
        {name: [value_of(row, name) for _, row in done] for name in names_of(rows)},
    )


def value_of(row: RunRow, name: str) -> float | None:
    """Return a run's number of that name: its result, a part of it, or its last metric."""
    run = row.summary
    found: object = run.metrics.get(name)
    if name == "result":
        found = run.result
    elif name.startswith("result."):
        found = run.result.get(name.removeprefix("result.")) if isinstance(run.result, dict) else None
    value = number(found)
    return None if value is None else float(value)


def names_of(rows: Mapping[str, RunRow]) -> list[str]:
    """Return the names of results, then of metrics."""
    return [*_results(rows), *metrics_of(rows)]


def _results(rows: Mapping[str, RunRow]) -> list[str]:
    """Return `result`, or one name per part when runs return mappings."""
    found: dict[str, None] = {}
    for row in rows.values():
        value = row.summary.result
        if isinstance(value, dict):
            found |= dict.fromkeys(f"result.{key}" for key in value)
        elif is_number(value):
            found["result"] = None
    return list(found)[:12]


def swept_of(rows: Mapping[str, RunRow]) -> dict[str, list[str | None]]:
    """Return the overrides in which the runs differ, with each run's value; of `trainctl.*` only the seed."""
    found = varying([row.summary.overrides for row in rows.values()])
    shown = {key: values for key, values in found.items() if key == "trainctl.seed" or not key.startswith("trainctl.")}
    return dict(list(shown.items())[:MAX_SWEPT])


def metrics_of(rows: Mapping[str, RunRow]) -> list[str]:
    """Return the metrics that the runs have logged."""
    return list(dict.fromkeys(name for row in rows.values() for name in row.summary.metrics))[:MAX_METRICS]


_EXPORTS = {"CSV": ("results.csv", "csv"), "LaTeX": ("results.tex", "latex"), "Markdown": ("results.md", "md")}


class ResultsPane:
    """Mean ± std over seeds of all that is done; three buttons write it out."""

    def __init__(self) -> None:
        self._results = pd.DataFrame()
        self._table = panel.pane.HTML("", stylesheets=[STYLE], sizing_mode="stretch_width", margin=(8, 12))
        self.view = pmui.Column(
            pmui.FlexBox(*(self._download(name) for name in _EXPORTS), gap="0px", margin=(0, 12)),
            self._table,
            sizing_mode="stretch_width",
            margin=0,
        )

    def look(self, rows: Mapping[str, RunRow]) -> None:
        """Show what is done by now."""
        self._results = results_of(rows)
        set_object(self._table, table_of(self._results))

    def _download(self, name: str) -> Any:
        file, form = _EXPORTS[name]
        return pmui.FileDownload(
            callback=lambda: io.BytesIO(write(self._results, form).encode()),
            filename=file,
            label=name,
            embed=False,
            auto=True,
            variant="outlined",
            size="small",
            margin=(4, 12, 4, 0),
        )


def table_of(results: pd.DataFrame) -> str:
    """Write the results as an HTML table."""
    if not len(results):
        return '<span class="dim">No run is done yet.</span>'
    columns = shown(results)
    kinds = ["mono" if head in keys_of(results) else "num" if head == "runs" else "num mono" for head in columns]
    heads = "".join(
        f'<th class="{kind.removesuffix("mono").strip()}">{html(head)}</th>'
        for kind, head in zip(kinds, columns, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{kind}">{html(cell)}</td>' for kind, cell in zip(kinds, line, strict=True))
        + "</tr>"
        for line in zip(*columns.values(), strict=True)
    )
    return f'<div class="scroll" tabindex="0"><table><tr>{heads}</tr>{body}</table></div>'
