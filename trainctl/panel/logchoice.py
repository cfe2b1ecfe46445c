"""Which log of a run is shown: a button for each command of a pipeline, with its state, and the earlier attempts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import panel_material_ui as pmui

from trainctl.errors import RunDirError
from trainctl.panel.facts import took
from trainctl.panel.pendingbar import set_params
from trainctl.panel.session import argument, remember
from trainctl.panel.theme import LOG_BUTTON, STATE_COLORS
from trainctl.run.commandstate import CommandState, telling
from trainctl.run.logs import earlier_logs, log_of
from trainctl.run.rundir import RunDir
from trainctl.run.summary import Summary

JOB = "job"
LATEST = "latest"
MAX_COMMANDS = 200

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
    """The log of the command that runs or went wrong, as the run goes on; once a person has chosen one, that one.

    A run without commands has its own log and nothing to choose.
    """

    def __init__(self, run: Summary, on_change: Callable[[], None]) -> None:
        self._run = run.run
        self._on_change = on_change
        self._link = argument("log")  # what the URL asks for, until the run has such a log
        self._is_by_hand = self._is_turning = False
        self._name = JOB
        self._earlier: dict[str, Path] = {}
        self._buttons: dict[str, Any] = {}
        self.attempts = pmui.Select(
            label="attempt", options=[LATEST], value=LATEST, size="small", width=120, margin=(6, 8), visible=False
        )
        self.attempts.param.watch(lambda _event: self._choose(self._name, self.attempts.value), ["value"])
        self.view = pmui.FlexBox(gap="4px", sx=_GRID, margin=(4, 8), styles=_PLACE, visible=False)
        self.look(run)

    @property
    def path(self) -> Path:
        """Where the log is that is shown."""
        return self._earlier.get(self.attempts.value) or log_of(self._run, self._name)

    @property
    def title(self) -> str:
        """What it is called; a run without commands has one log only."""
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
            self._turn(self._name, self.attempts.value)
        else:
            found = telling(commands, run.state)
            self._turn(JOB if found is None else found.name)
        if is_new:  # only now: what a button that is not drawn yet is told is lost
            self.view.objects = list(self._buttons.values())
            set_params(self.view, visible=True)

    def _with_logs(self, commands: Sequence[CommandState]) -> list[CommandState]:
        """Leave out what cannot be called so: the names come from a file that anybody may have written."""
        return [one for one in commands if one.name != JOB and _is_name(self._run, one.name)][:MAX_COMMANDS]

    def _label(self, commands: Sequence[CommandState], run: Summary) -> bool:
        """Say on each button what it stands for; tell whether there are other buttons than before."""
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
        set_params(self.attempts, options=options, value=kept, visible=len(options) > 1)
        for each, button in self._buttons.items():
            set_params(button, value=each == name)
        self._is_turning = False


def _is_name(run: RunDir, name: str) -> bool:
    try:
        log_of(run, name)
    except RunDirError:
        return False
    return True
