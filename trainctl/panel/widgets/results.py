"""The table of results on the sweep's page, and its export."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import panel
import panel_material_ui as pmui

from trainctl.panel.data.results import Results, results_of, to_csv, to_latex, to_markdown
from trainctl.panel.data.run_view import RunRow
from trainctl.panel.html import html
from trainctl.panel.pages.theme import STYLE
from trainctl.panel.widgets.pending import set_object

_EXPORTS = {"CSV": ("results.csv", to_csv), "LaTeX": ("results.tex", to_latex), "Markdown": ("results.md", to_markdown)}


class ResultsPane:
    """Mean ± std over seeds of all that is done; three buttons write it out."""

    def __init__(self) -> None:
        self._results = Results([], [], [])
        self._table = panel.pane.HTML("", stylesheets=[STYLE], sizing_mode="stretch_width", margin=(6, 12))
        self.view = pmui.Column(
            pmui.FlexBox(*(self._download(name) for name in _EXPORTS), gap="0px"),
            self._table,
            sizing_mode="stretch_width",
            margin=0,
        )

    def look(self, rows: Mapping[str, RunRow]) -> None:
        """Show what is done by now."""
        self._results = results_of(rows)
        set_object(self._table, table_of(self._results))

    def _download(self, name: str) -> Any:
        file, write = _EXPORTS[name]
        return pmui.FileDownload(
            callback=lambda: io.BytesIO(write(self._results).encode()),
            filename=file,
            label=name,
            embed=False,
            auto=True,
            variant="outlined",
            size="small",
            margin=(6, 6),
        )


def table_of(results: Results) -> str:
    """Write the results as an HTML table."""
    if not results.rows:
        return '<span class="dim">No run is done yet.</span>'
    heads = "".join(
        f'<th class="{"num" if number >= len(results.keys) else ""}">{html(head)}</th>'
        for number, head in enumerate([*results.keys, "runs", *results.metrics])
    )
    body = "".join(
        "<tr>"
        + "".join(f'<td class="mono">{html(value)}</td>' for value in group)
        + f'<td class="num">{number}</td>'
        + "".join(f'<td class="num mono">{"" if cell is None else html(cell.text())}</td>' for cell in cells)
        + "</tr>"
        for group, number, cells in results.rows
    )
    return f'<div class="scroll" tabindex="0"><table><tr>{heads}</tr>{body}</table></div>'
