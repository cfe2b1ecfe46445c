"""The page of one run: its state, the form, the bar of pending edits, and the changelog."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import panel
import panel_material_ui as pmui

from trainctl.errors import TrainctlError
from trainctl.panel import changes, facts
from trainctl.panel.form import Form
from trainctl.panel.pendingbar import PendingBar
from trainctl.panel.runview import RunView
from trainctl.panel.session import tick_while_open
from trainctl.panel.theme import STYLE, frame, link
from trainctl.panel.watcher import Watcher
from trainctl.panel.words import html
from trainctl.run.events import Event, latest
from trainctl.run.inbox import file_request

TICK_MS = 250


def run_page(watcher: Watcher) -> pmui.Page:
    """Make the page of the run that the URL names; a page that says so if there is none."""
    name = str(panel.state.route_params.get("name", ""))
    view = watcher.view(name)
    if view is None:
        text = f"<p>There is no run {html(repr(name[:200]))} here. {link('../', 'All runs')}</p>"
        return frame("trainctl", [panel.pane.HTML(text, stylesheets=[STYLE], margin=16)])
    return RunPage(watcher, name, view).page


class RunPage:
    """One browser's view of one run."""

    def __init__(self, watcher: Watcher, name: str, view: RunView) -> None:
        self._watcher = watcher
        self._name = name
        self._view = view
        self._request: str | None = None
        self._asked: dict[str, str] = {}
        self._facts = _pane(facts.facts(view.row))
        self._notice = _pane(notice(view), visible=bool(notice(view)))
        self._changes = _pane(changes.table(view))
        self._form = Form(view, self._change)
        self._bar = PendingBar(self._apply, self._discard)
        self._bar.view.visible = view.is_editable
        left = pmui.Column(self._form.view, sizing_mode="stretch_width", styles={"flex": "1 1 540px", "min-width": "0"})
        right = pmui.Column(self._changes, sizing_mode="stretch_width", styles={"flex": "1 1 480px", "min-width": "0"})
        body = pmui.FlexBox(left, right, sizing_mode="stretch_width", align_items="flex-start", gap="0px")
        self.page = frame(
            f"trainctl · {name}", [self._facts, self._notice, self._bar.view, body], link("../", "All runs", "bar-link")
        )
        stack = ExitStack()
        stack.enter_context(watcher.watching(name))
        tick_while_open(self._tick, TICK_MS, stack)

    def _change(self) -> None:
        """Follow the person: the answer to what was asked before goes when something new is begun."""
        if self._request is None:
            self._bar.answer("")
        self._update()

    def _update(self) -> None:
        self._bar.show(self._form.changes())

    def _discard(self) -> None:
        self._form.discard(self._view)
        self._update()

    def _apply(self) -> None:
        """File one request with all changes; they are checked again, since the run may have gone on."""
        found = self._form.changes()
        if not found or any(change.error for change in found) or self._request is not None:
            return
        if not self._view.is_editable:
            self._bar.answer("rejected: the run is not running", "bad")
            return
        asked = {change.key: change.new for change in found}
        try:
            self._request = file_request(self._view.row.summary.run, asked, via="panel", note=self._bar.note)
        except TrainctlError as error:
            self._bar.answer(f"rejected: {error}", "bad")
            return
        self._asked = asked
        self._bar.answer("sent: waiting for the run to take it at its next step", waiting=True)

    def _tick(self) -> None:
        view = self._watcher.view(self._name)
        if view is None:
            return
        _show(self._facts, facts.facts(view.row))
        old, self._view = self._view, view
        if view.is_like(old):
            return
        self._settle(view)
        self._form.follow(view)
        self._update()
        if self._bar.view.visible != view.is_editable:
            self._bar.view.visible = view.is_editable
        _show(self._notice, notice(view))
        if self._notice.visible != bool(notice(view)):
            self._notice.visible = bool(notice(view))
        _show(self._changes, changes.table(view))

    def _settle(self, view: RunView) -> None:
        """Show the answer to our request, once there is one."""
        if self._request is None:
            return
        event = latest(view.events).get(self._request)
        if event is not None and event.is_final:
            self._request = None
            self._answer(view, event)
        elif view.row.summary.state != "running":
            self._request = None
            self._bar.answer("not answered: the run is not running any more", "bad")

    def _answer(self, view: RunView, event: Event) -> None:
        if event.state == "applied":
            self._form.accept(view, self._asked)
            self._bar.clear_note()
            self._bar.answer(f"applied at step {event.step}", "ok")
        else:
            self._bar.answer(f"rejected: {event.reason}", "bad")


def notice(view: RunView) -> str:
    """Say why values cannot be changed; nothing when they can."""
    if view.problem is not None:
        return f'<div class="dim">{html(view.problem)}</div>'
    if view.is_editable:
        return ""
    state = view.row.summary.state
    return f'<div class="dim">This run is not running ({state}): its values can be read, not changed.</div>'


def _pane(text: str, *, visible: bool = True) -> Any:
    return panel.pane.HTML(text, stylesheets=[STYLE], sizing_mode="stretch_width", margin=(6, 12), visible=visible)


def _show(pane: Any, text: str) -> None:
    if pane.object != text:
        pane.object = text
