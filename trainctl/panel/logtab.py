"""The end of a log of a run: it follows, can be searched, and keeps its colours. Of a pipeline each command has one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import panel
import panel_material_ui as pmui

from trainctl.config.masking import Masking
from trainctl.errors import UnreadableError
from trainctl.panel import ansi
from trainctl.panel.logchoice import LogChoice
from trainctl.panel.pendingbar import set_object
from trainctl.panel.runview import RunView, Signature, signature
from trainctl.panel.theme import STYLE
from trainctl.panel.words import html
from trainctl.run import files

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
    """Reads the end of the chosen log again when it has grown, while it is in sight."""

    def __init__(self, view: RunView) -> None:
        self._masking = Masking({})
        self._seen: tuple[Path, Signature] | None = None
        self._lines: list[str] = []
        self._is_cut = False
        self._problem = ""
        self._search = pmui.TextInput(label="Search the log", size="small", width=260, max_length=200, margin=(6, 8))
        self._follow = pmui.Switch(label="follow", value=True, margin=(10, 8))
        self._text = panel.pane.HTML(
            "", stylesheets=[_STYLE], margin=(2, 8), styles={"flex": "999 1 480px", "min-width": "0"}
        )
        self._choice = LogChoice(view.row.summary, self._read)
        self._search.param.watch(lambda _event: self._show(), ["value_input"])
        self._follow.param.watch(lambda _event: self._show(), ["value"])
        self.view = pmui.Column(
            pmui.FlexBox(self._search, self._follow, self._choice.attempts, gap="0px"),
            pmui.FlexBox(
                self._choice.view, self._text, sizing_mode="stretch_width", align_items="flex-start", gap="0px"
            ),
            sizing_mode="stretch_width",
            margin=0,
        )

    def look(self, view: RunView) -> None:
        """Read the log again if it has changed; without `follow` only another one that was chosen."""
        self._masking = view.masking
        self._choice.look(view.row.summary, moves=self._follow.value or self._seen is None)
        if self._follow.value or self._seen is None:
            self._read()

    def _read(self) -> None:
        path = self._choice.path
        seen = (path, signature(path))
        if seen == self._seen:
            return
        self._seen, self._problem = seen, ""
        self._lines, self._is_cut = [], False
        try:
            self._lines, self._is_cut = read_end(path, self._masking)
        except FileNotFoundError:
            pass  # nothing was written, or not yet
        except UnreadableError as error:
            self._problem = f"{path.name} cannot be read: {error.why}."
        except OSError as error:
            self._problem = f"{path.name} cannot be read: {error.strerror or error}."
        self._show()

    def _show(self) -> None:
        kind = "log" if self._follow.value else "log still"
        words = (self._search.value_input or "").strip()
        name = html(self._choice.path.name)
        if not any(self._lines):
            text = f'<p class="dim">{html(self._problem) or f"Nothing has been written to {name}."}</p>'
        else:
            said = f'<p class="dim">Earlier lines are in {name}.</p>' if self._is_cut else ""
            shown = "\n".join(ansi.to_html(line) for line in self._lines)
            if words:
                said, shown = _found(self._lines, words)
            title = html(self._choice.title)
            text = f'{said}<div class="{kind}" tabindex="0" role="region" aria-label="{title}"><pre>{shown}</pre></div>'
        set_object(self._text, text)


def read_end(log: Path, masking: Masking) -> tuple[list[str], bool]:
    """Return the last lines of a log, secrets masked, and whether there are earlier ones.

    Raises:
        OSError: it is not there, cannot be read, or is a link.
    """
    with files.open_regular(log) as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        data = file.read(TAIL_BYTES)
    text = masking.text(data.decode(errors="replace"))
    lines = [ansi.last_written(line) for line in text.split("\n")]
    if size > len(data):
        lines = lines[1:]
    return lines[-MAX_LINES:], size > len(data) or len(lines) > MAX_LINES


def _found(lines: list[str], words: str) -> tuple[str, str]:
    """Return how many lines have the words, and these lines."""
    found = [line for line in lines if words.lower() in ansi.plain(line).lower()]
    said = f'<p class="dim">{len(found)} of the last {len(lines)} lines have it.</p>'
    return said, "\n".join(_marked(ansi.plain(line), words) for line in found)


def _marked(line: str, words: str) -> str:
    parts: list[Any] = re.split(f"({re.escape(words)})", line, flags=re.IGNORECASE)
    return "".join(f"<mark>{html(part)}</mark>" if place % 2 else html(part) for place, part in enumerate(parts))
