"""The end of a run's log: it follows, can be searched, and keeps its colours. Each command of a pipeline has one.

The choice of log: a button for each command of a pipeline, with its state, and the earlier attempts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import panel
import panel_material_ui as pmui

from trainctl.config.masking import Masking
from trainctl.errors import RunDirError, UnreadableError
from trainctl.panel.data.run_view import RunView, Signature, signature
from trainctl.panel.html import html
from trainctl.panel.pages.session import argument, remember
from trainctl.panel.pages.theme import LOG_BUTTON, STATE_COLORS, STYLE
from trainctl.panel.widgets import ansi
from trainctl.panel.widgets.control_row import Control, Controls
from trainctl.panel.widgets.pending import set_object, set_params
from trainctl.panel.widgets.summary import took
from trainctl.rundir import files
from trainctl.rundir.logs import earlier_logs, log_of
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import CommandState, telling
from trainctl.rundir.summary import Summary

JOB = "job"
LATEST = "latest"
MAX_COMMANDS = 200
LINES_BESIDE = 12
BYTES_BESIDE = 8 * 1024

# beside the log, or above it where there is no room for both; a long list of commands scrolls by itself
_PLACE = {"flex": "1 1 170px", "min-width": "0"}
_GRID = {
    "display": "grid",
    "gridTemplateColumns": "repeat(auto-fill, minmax(150px, 1fr))",
    "maxHeight": "68vh",
    "overflowY": "auto",
    "@media (max-width: 700px)": {"maxHeight": "36vh"},
}


class LogChoice:
    """The log of the command that runs or failed, as the run goes on, until a person chooses another.

    A run without commands has its own log and nothing to choose.
    """

    def __init__(self, run: Summary, on_change: Callable[[], None]) -> None:
        self._run = run.run
        self._on_change = on_change
        self._link = argument("log")  # the URL's choice, until the run has such a log
        self._is_by_hand = self._is_turning = False
        self._name = JOB
        self._earlier: dict[str, Path] = {}
        self._buttons: dict[str, Any] = {}
        self.attempts = Controls(
            [Control("attempt", "choice", "attempt", width=96)],
            lambda: self._choose(self._name, self._attempt),
            margin=(4, 12, 4, 0),
        )
        self.attempts.show("attempt", options=[LATEST], value=LATEST, hidden=True)
        self.view = pmui.FlexBox(gap="4px", sx=_GRID, margin=(4, 12), styles=_PLACE, visible=False)
        self.look(run)

    @property
    def path(self) -> Path:
        """The path of the shown log."""
        return self._earlier.get(self._attempt) or log_of(self._run, self._name)

    @property
    def _attempt(self) -> str:
        return self.attempts.text("attempt")

    @property
    def title(self) -> str:
        """The name of the shown log; a run without commands has one only."""
        return f"log of {self.path.stem}" if self._buttons else "log"

    def look(self, run: Summary, *, moves: bool = True) -> None:
        """Follow the run; unless it `moves` the log that is shown stays."""
        commands = self._with_logs(run.commands)
        if not commands:
            return
        is_new = self._label(commands, run)
        if (asked := self._asked()) is not None:
            self._link, self._is_by_hand = "", True
            self._turn(*asked)
        elif self._is_by_hand or not moves:
            self._turn(self._name, self._attempt)
        else:
            found = telling(commands, run.state)
            self._turn(JOB if found is None else found.name)
        if is_new:  # only now: an update of a button that is not drawn yet is lost
            self.view.objects = list(self._buttons.values())
            set_params(self.view, visible=True)

    def _with_logs(self, commands: Sequence[CommandState]) -> list[CommandState]:
        """Leave out impossible names: they come from a file that is outside input."""
        return [one for one in commands if one.name != JOB and _is_name(self._run, one.name)][:MAX_COMMANDS]

    def _label(self, commands: Sequence[CommandState], run: Summary) -> bool:
        """Label each button; return whether the set of buttons has changed."""
        said = {one.name: (one.state, " · ".join(filter(None, (one.how, took(one))))) for one in commands}
        said = {JOB: (run.state, run.state), **said}
        is_new = list(said) != list(self._buttons)
        if is_new:
            self._buttons = {name: self._button(name) for name in said}
        for name, (state, text) in said.items():
            color = {"borderLeftColor": STATE_COLORS.get(state, STATE_COLORS["queued"])}
            set_params(self._buttons[name], label=f"{name}\n{text}", sx={**LOG_BUTTON, **color})
        return is_new

    def _button(self, name: str) -> Any:
        button = pmui.Toggle(color="primary", sizing_mode="stretch_width", margin=0)
        button.param.watch(lambda _event: self._choose(name), ["value"])
        return button

    def _asked(self) -> tuple[str, str] | None:
        """Return which log and attempt the link asks for; None when it asks for none that there is."""
        if self._link in self._buttons:
            return self._link, LATEST
        name, _, attempt = self._link.rpartition(".")
        return (name, attempt) if name in self._buttons else None

    def _choose(self, name: str, attempt: str = LATEST) -> None:
        """Follow the person: a button was pressed, or an attempt chosen."""
        if not self._is_turning:
            self._link, self._is_by_hand = "", True
            self._turn(name, attempt)
            remember(log=self.path.stem)
            self._on_change()

    def _turn(self, name: str, attempt: str = LATEST) -> None:
        """Show this attempt's log; the latest if there is no such one."""
        self._is_turning = True
        self._name = name
        self._earlier = {str(number): path for number, path in earlier_logs(log_of(self._run, name)).items()}
        options = [LATEST, *reversed(self._earlier)]
        kept = attempt if attempt in self._earlier else LATEST
        self.attempts.show("attempt", options=options, value=kept, hidden=len(options) == 1)
        for each, button in self._buttons.items():
            set_params(button, value=each == name)
        self._is_turning = False


def _is_name(run: RunDir, name: str) -> bool:
    try:
        log_of(run, name)
    except RunDirError:
        return False
    return True


TAIL_BYTES = 256 * 1024
MAX_LINES = 1000
FIELDS = (
    Control("search", "text", "Search the log", width=240, longest=200, shortcut="/"),
    Control("follow", "check", "follow", "show what is written as it comes"),
)

# reversed, so that the browser keeps the end in sight by itself when lines are added
_STYLE = (
    STYLE
    + ansi.STYLE
    + """
.log { display: flex; flex-direction: column-reverse; max-height: 68vh; overflow: auto; border: 1px solid var(--line);
  border-radius: 4px; }
.log.still { flex-direction: column; }
.log pre { margin: 0; padding: 8px 12px; font: var(--small)/1.4 var(--mono);
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
        self._fields = Controls(FIELDS, self._show, margin=(4, 12))
        self._fields.show("follow", value=True)
        self._text = panel.pane.HTML(
            "", stylesheets=[_STYLE], margin=(4, 12), styles={"flex": "999 1 480px", "min-width": "0"}
        )
        self._choice = LogChoice(view.row.summary, self._read)
        self.view = pmui.Column(
            pmui.FlexBox(self._fields.view, self._choice.attempts.view, gap="0px"),
            pmui.FlexBox(
                self._choice.view, self._text, sizing_mode="stretch_width", align_items="flex-start", gap="0px"
            ),
            sizing_mode="stretch_width",
            margin=0,
        )

    def look(self, view: RunView) -> None:
        """Read the log again if it has changed; without `follow` only another one that was chosen."""
        self._masking = view.masking
        self._choice.look(view.row.summary, moves=self._fields.is_on("follow") or self._seen is None)
        if self._fields.is_on("follow") or self._seen is None:
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
        kind = "log" if self._fields.is_on("follow") else "log still"
        words = self._fields.text("search")
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


def read_end(log: Path, masking: Masking, most: int = TAIL_BYTES) -> tuple[list[str], bool]:
    """Return the last lines of a log, at most so many bytes, secrets masked, and whether there are earlier ones.

    Raises:
        OSError: it is not there, cannot be read, or is a link.
    """
    with files.open_regular(log) as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - most))
        data = file.read(most)
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


_TAIL_STYLE = (
    STYLE
    + ansi.STYLE
    + """
pre { margin: 0; padding: 8px 12px; font: var(--small)/1.4 var(--mono); white-space: pre-wrap;
  overflow-wrap: anywhere; border: 1px solid var(--line); border-radius: 4px; max-height: 220px; overflow: auto; }
@media (max-width: 1000px) { :host { display: none !important; } }
"""
)


class LogTail:
    """The last lines beside a run's curves, where the window has room for them; read again when the log has grown."""

    def __init__(self) -> None:
        self._seen: Signature | None = None
        self.view: Any = panel.pane.HTML("", stylesheets=[_TAIL_STYLE], sizing_mode="stretch_width", margin=(4, 12))

    def look(self, view: RunView) -> None:
        """Show what is new."""
        log = view.row.summary.run.log
        seen = signature(log)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            lines, _ = read_end(log, view.masking, BYTES_BESIDE)
        except OSError:
            lines = []
        while lines and not lines[-1]:
            del lines[-1]
        shown = "\n".join(ansi.to_html(line) for line in lines[-LINES_BESIDE:])
        text = (
            f'<pre tabindex="0">{shown}</pre>'
            if shown
            else f'<p class="dim">Output of the run, in {html(log.name)}.</p>'
        )
        set_object(self.view, f'<h2 class="head">Log</h2>{text}')
