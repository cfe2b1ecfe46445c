"""The last lines of a run's log beside its curves, on a window with room for them."""

from __future__ import annotations

from typing import Any

import panel

from trainctl.panel.data.run_view import RunView, Signature, signature
from trainctl.panel.html import html
from trainctl.panel.pages.theme import STYLE
from trainctl.panel.widgets import ansi
from trainctl.panel.widgets.log import read_end
from trainctl.panel.widgets.pending import set_object

LINES = 12
_BYTES = 8 * 1024
_STYLE = (
    STYLE
    + ansi.STYLE
    + """
pre { margin: 0; padding: 8px 12px; font: var(--small)/1.4 var(--mono); white-space: pre-wrap;
  overflow-wrap: anywhere; border: 1px solid var(--line); border-radius: 4px; max-height: 220px; overflow: auto; }
@media (max-width: 1000px) { :host { display: none !important; } }
"""
)


class LogTail:
    """Reads the end of the log again when it has grown."""

    def __init__(self) -> None:
        self._seen: Signature | None = None
        self.view: Any = panel.pane.HTML("", stylesheets=[_STYLE], sizing_mode="stretch_width", margin=(4, 12))

    def look(self, view: RunView) -> None:
        """Show what is new."""
        log = view.row.summary.run.log
        seen = signature(log)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            lines, _ = read_end(log, view.masking, _BYTES)
        except OSError:
            lines = []
        while lines and not lines[-1]:
            del lines[-1]
        shown = "\n".join(ansi.to_html(line) for line in lines[-LINES:])
        text = (
            f'<pre tabindex="0">{shown}</pre>'
            if shown
            else f'<p class="dim">Output of the run, in {html(log.name)}.</p>'
        )
        set_object(self.view, f'<h2 class="head">Log</h2>{text}')
