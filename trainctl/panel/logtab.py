"""The end of a run's log: it follows, can be searched, and keeps its colours."""

from __future__ import annotations

import re
from typing import Any

import panel
import panel_material_ui as pmui

from trainctl.config.masking import Masking
from trainctl.panel import ansi
from trainctl.panel.pendingbar import set_object
from trainctl.panel.runview import Signature, signature
from trainctl.panel.theme import STYLE
from trainctl.panel.words import html
from trainctl.run.rundir import RunDir

TAIL_BYTES = 256 * 1024
MAX_LINES = 1000

# reversed, so that the browser keeps the end in sight by itself when lines are added
_STYLE = (
    STYLE
    + ansi.STYLE
    + """
.log { display: flex; flex-direction: column-reverse; max-height: 68vh; overflow: auto; border: 1px solid var(--line);
  border-radius: 4px; }
.log.still { flex-direction: column; }
.log pre { margin: 0; padding: 6px 10px; font: 12.5px/1.4 ui-monospace, 'DejaVu Sans Mono', monospace;
  white-space: pre-wrap; overflow-wrap: anywhere; }
"""
)


class LogTab:
    """Reads the end of `job.log` again when it has grown, while it is in sight."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._seen: Signature | None = None
        self._lines: list[str] = []
        self._is_cut = False
        self._search = pmui.TextInput(label="Search the log", size="small", width=260, max_length=200, margin=(6, 8))
        self._follow = pmui.Switch(label="follow", value=True, margin=(10, 8))
        self._text = panel.pane.HTML("", stylesheets=[_STYLE], sizing_mode="stretch_width", margin=(2, 8))
        self._search.param.watch(lambda _event: self._show(), ["value_input"])
        self._follow.param.watch(lambda _event: self._show(), ["value"])
        self.view = pmui.Column(
            pmui.FlexBox(self._search, self._follow, gap="0px"), self._text, sizing_mode="stretch_width", margin=0
        )

    def look(self, masking: Masking) -> None:
        """Read the log again if it has changed."""
        seen = signature(self._run.log)
        if seen == self._seen or (self._seen is not None and not self._follow.value):
            return
        self._seen = seen
        self._lines, self._is_cut = read_end(self._run, masking)
        self._show()

    def _show(self) -> None:
        kind = "log" if self._follow.value else "log still"
        words = (self._search.value_input or "").strip()
        set_object(self._text, _written(self._lines, words, kind, is_cut=self._is_cut))


def read_end(run: RunDir, masking: Masking) -> tuple[list[str], bool]:
    """Return the last lines of a log, secrets masked, and whether there are earlier ones."""
    try:
        with run.log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            data = file.read(TAIL_BYTES)
    except OSError:
        return [], False
    text = masking.text(data.decode(errors="replace"))
    lines = [ansi.last_written(line) for line in text.split("\n")]
    if size > len(data):
        lines = lines[1:]
    return lines[-MAX_LINES:], size > len(data) or len(lines) > MAX_LINES


def _written(lines: list[str], words: str, kind: str, *, is_cut: bool) -> str:
    if not any(lines):
        return '<p class="dim">Nothing has been written to job.log.</p>'
    if words:
        found = [line for line in lines if words.lower() in ansi.plain(line).lower()]
        said = f'<p class="dim">{len(found)} of the last {len(lines)} lines have it.</p>'
        shown = "\n".join(_marked(ansi.plain(line), words) for line in found)
    else:
        said = '<p class="dim">Earlier lines are in job.log.</p>' if is_cut else ""
        shown = "\n".join(ansi.to_html(line) for line in lines)
    return f'{said}<div class="{kind}" tabindex="0" role="region" aria-label="log"><pre>{shown}</pre></div>'


def _marked(line: str, words: str) -> str:
    parts: list[Any] = re.split(f"({re.escape(words)})", line, flags=re.IGNORECASE)
    return "".join(f"<mark>{html(part)}</mark>" if place % 2 else html(part) for place, part in enumerate(parts))
