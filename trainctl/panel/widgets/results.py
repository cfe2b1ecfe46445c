"""The table of results on the sweep's page, and its export."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pandas as pd
import panel
import panel_material_ui as pmui

from trainctl.examine.writing import keys_of, shown, write
from trainctl.panel.data.results import results_of
from trainctl.panel.data.run_view import RunRow
from trainctl.panel.html import html
from trainctl.panel.pages.theme import STYLE
from trainctl.panel.widgets.pending import set_object

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
