"""The files of a run, and the beginning of a text file. Nothing outside the run dir, no links."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import panel
import panel_material_ui as pmui

from trainctl.config.masking import Masking
from trainctl.panel.html import html
from trainctl.panel.pages.theme import STYLE
from trainctl.panel.widgets.control_row import Control, Controls
from trainctl.panel.widgets.pending import set_object
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.text import size

MAX_FILES = 500
DEPTH = 3
SHOWN_BYTES = 64 * 1024
_STYLE = STYLE + (
    "pre { margin: 0; padding: 8px 12px; font: var(--small)/1.4 var(--mono); white-space: pre-wrap;"
    " overflow-wrap: anywhere; max-height: 60vh; overflow: auto; border: 1px solid var(--line); }"
)


@dataclass(frozen=True, slots=True)
class Found:
    """One file, by its path below the run dir."""

    name: str
    size: int
    changed: float


class FilesTab:
    """A table of files, and a choice of one to be read."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._masking = Masking({})
        self._table = panel.pane.HTML("", stylesheets=[STYLE], sizing_mode="stretch_width", margin=(4, 12))
        self._fields = Controls([Control("file", "choice", "read", width=280)], self._read, margin=(4, 12))
        self._text = panel.pane.HTML("", stylesheets=[_STYLE], sizing_mode="stretch_width", margin=(4, 12))
        self.view = pmui.Column(self._fields.view, self._text, self._table, sizing_mode="stretch_width", margin=0)

    def look(self, masking: Masking) -> None:
        """List the files again."""
        self._masking = masking
        found = files_of(self._run)
        set_object(self._table, _table(found))
        self._fields.show("file", options=["", *(one.name for one in found)])

    def _read(self) -> None:
        name = self._fields.text("file")
        known = name in {one.name for one in files_of(self._run)}
        set_object(
            self._text, f"<pre tabindex='0'>{html(beginning(self._run, name, self._masking))}</pre>" if known else ""
        )


def files_of(run: RunDir) -> list[Found]:
    """List the regular files at most `DEPTH` levels below a run dir; links are not followed and not listed."""
    found: list[Found] = []

    def look(path: Path, left: int) -> None:
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError:
            return
        for entry in entries:
            if len(found) >= MAX_FILES:
                return
            if entry.is_dir(follow_symlinks=False) and left:
                look(Path(entry.path), left - 1)
            elif entry.is_file(follow_symlinks=False):
                about = entry.stat(follow_symlinks=False)
                found.append(Found(os.path.relpath(entry.path, run.path), about.st_size, about.st_mtime))

    look(run.path, DEPTH)
    return found


def beginning(run: RunDir, name: str, masking: Masking) -> str:
    """Return the beginning of a text file below the run dir, secrets masked; a sentence if it can't be shown."""
    try:
        with files.open_regular(run.path / name) as file:
            data = file.read(SHOWN_BYTES + 1)
    except OSError as error:
        return f"(it cannot be read: {error.strerror or error})"
    if b"\0" in data:
        return "(not text)"
    more = f"\n… (the first {SHOWN_BYTES // 1024} KiB)" if len(data) > SHOWN_BYTES else ""
    return masking.text(data[:SHOWN_BYTES].decode(errors="replace")) + more


def _table(found: list[Found]) -> str:
    rows = "".join(
        f'<tr><td class="mono">{html(one.name)}</td><td class="num">{size(one.size)}</td>'
        f"<td>{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(one.changed))}</td></tr>"
        for one in found
    )
    return f'<table><tr><th>file</th><th class="num">size</th><th>changed</th></tr>{rows}</table>'
