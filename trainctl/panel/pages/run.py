"""The page of one run: its state and actions, the form and the bar of pending edits, plots, changelog, and tabs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import panel
import panel_material_ui as pmui

from trainctl.panel.data.curves import Curves
from trainctl.panel.data.run_view import RunView
from trainctl.panel.data.watcher import Watcher
from trainctl.panel.pages.session import may_ask, tick_while_open
from trainctl.panel.pages.theme import REST, STYLE, frame, message, tabs
from trainctl.panel.widgets import summary
from trainctl.panel.widgets.actions import ActionBar, label_of
from trainctl.panel.widgets.config import ConfigTab, ProvenanceTab
from trainctl.panel.widgets.edits import ChangeTable, EditRow
from trainctl.panel.widgets.files import FilesTab
from trainctl.panel.widgets.form import Form
from trainctl.panel.widgets.log import LogTab, LogTail
from trainctl.panel.widgets.pending import PendingBar, set_object, set_params
from trainctl.panel.widgets.plots import Plots
from trainctl.panel.widgets.requests import Asking, SentRequest
from trainctl.panel.widgets.summary import Usage

TICK_MS = 250
FIRST = "run"
OTHERS = ("config", "overrides", "log", "files")  # tabs
SLOW_TICKS = 4  # numbers, plots and tabs follow once a second; answers at once

Look = Callable[[RunView], None]


def run_page(watcher: Watcher) -> pmui.Page:
    """Make the page of the run that the URL names; a page that says so if there is none."""
    name = str(panel.state.route_params.get("name", ""))
    view = watcher.view(name)
    if view is None:
        return message(f"There is no run {name[:200]!r} here.", "../")
    return RunPage(watcher, name, view).page


class RunPage:
    """One browser's view of one run."""

    def __init__(self, watcher: Watcher, name: str, view: RunView) -> None:
        stack = ExitStack()
        stack.enter_context(watcher.watching(name))
        self._watcher = watcher
        self._name = name
        self._view = view
        self._ticks = 0
        self._asking = Asking(may_ask=may_ask(), tells_actions=False)
        self._usage = Usage()
        self._facts = _pane(summary.facts(view.row))
        self._facts.styles = REST
        said = self._asking.notice(view)
        self._notice = _pane(said, visible=bool(said))
        self._form = Form(view, self._change, self._apply)
        self._bar = PendingBar(self._apply, self._discard)
        self._actions = ActionBar(view, self._do)
        self._answers = _pane("", visible=False)
        self._changes = ChangeTable(self._take_back)
        self._plots = Plots(view, self._curves)
        self._tail = LogTail()
        self._tabs = self._with_tabs()
        head = pmui.FlexBox(self._facts, self._actions.view, justify_content="space-between", gap="0px")
        self.page = frame(
            f"trainctl · {name}",
            [head, self._notice, self._bar.view, self._answers, self._tabs.view],
            "../",
        )
        self._follow()
        tick_while_open(self._tick, TICK_MS, stack)

    @property
    def _curves(self) -> Curves:
        return self._watcher.curves(self._name) or Curves(self._view.row.summary.run)

    @property
    def _is_open(self) -> bool:
        return self._view.is_editable and self._asking.may_ask

    def _with_tabs(self) -> RunTabs:
        left = pmui.Column(
            self._form.view,
            self._actions.own,
            self._tail.view,
            sizing_mode="stretch_width",
            styles={"flex": "1 1 540px", "min-width": "0"},
        )
        right = pmui.Column(
            self._plots.view,
            self._changes.view,
            sizing_mode="stretch_width",
            styles={"flex": "1 1 480px", "min-width": "0"},
        )
        body = pmui.FlexBox(left, right, sizing_mode="stretch_width", align_items="flex-start", gap="0px")
        return RunTabs(self._watcher, self._name, body, self._look_at_body, lambda: self._view)

    def _look_at_body(self, view: RunView) -> None:
        self._plots.follow(view, self._curves)
        self._tail.look(view)

    def _change(self) -> None:
        """Follow the person: earlier answers disappear when a new change is begun."""
        self._asking.clear()
        self._update()

    def _update(self) -> None:
        self._bar.show(self._form.changes())
        lines = self._asking.lines()
        self._bar.answer(lines if self._is_open else "", busy=self._asking.is_unheard)
        set_params(self._answers, object="" if self._is_open else lines, visible=bool(lines) and not self._is_open)

    def _discard(self) -> None:
        self._form.discard(self._view)
        self._bar.clear()
        self._update()

    def _apply(self) -> None:
        """File one request with all changes, checked again because the run may have moved on."""
        found = self._form.changes()
        self._bar.show(found)
        texts = {change.key: change.new for change in found}
        label = ", ".join(texts) if len(texts) <= 3 else f"{len(texts)} keys"
        if not self._bar.is_ready:
            self._asking.refuse(label or "apply", self._bar.why_not_ready)
        else:
            bar = self._bar
            self._asking.ask(self._view, label, texts=texts, at=bar.at, note=bar.note, force=bar.force)
        self._update()

    def _do(self, name: str, arguments: dict[str, Any]) -> None:
        self._asking.clear()
        self._asking.ask(self._view, label_of(name, arguments), action=name, arguments=arguments)
        self._update()

    def _take_back(self, line: EditRow) -> None:
        """Ask for the undo of an edit, or cancel a waiting request."""
        self._asking.clear()
        note, force = self._bar.note, self._bar.force
        if line.waiting is not None:
            number, request = line.waiting
            self._asking.ask(self._view, f"cancel request {number}", cancel=request, note=note)
        else:
            self._asking.ask(self._view, f"undo of edit {line.number}", undo=line.number, note=note, force=force)
        self._update()

    def _tick(self) -> None:
        view = self._watcher.view(self._name)
        if view is None:
            return
        old, self._view = self._view, view
        self._ticks += 1
        is_slow, is_other = self._ticks % SLOW_TICKS == 0, not view.is_like(old)
        if is_slow or is_other:
            set_object(self._facts, summary.facts(view.row, self._used()))
        if is_slow:
            self._tabs.look()
        if is_other:
            self._follow()

    def _used(self) -> list[str]:
        run = self._view.row.summary
        memory = self._watcher.memory().get(run.slot) if run.slot is not None else None
        return list(self._usage.figures(run, memory))

    def _follow(self) -> None:
        """Show what has changed in the run's files."""
        view = self._view
        for asked in self._asking.settle(view):
            self._let_go(asked)
        self._form.follow(view, may_ask=self._asking.may_ask)
        self._update()
        set_params(self._bar.view, visible=self._is_open)
        said = self._asking.notice(view)
        set_params(self._notice, object=said, visible=bool(said))
        self._actions.follow(view, may_ask=self._asking.may_ask)
        self._changes.follow(view, may_undo=self._is_open, may_ask=self._asking.may_ask)

    def _let_go(self, asked: SentRequest) -> None:
        """Reset the form to the run's values once the run has taken the request, or has put it on its waiting list."""
        if asked.is_applied or asked.waits:
            self._form.accept(self._view, asked.texts)
            if asked.texts:
                self._bar.clear()
        elif asked.is_over:
            self._form.give_back(asked.texts)


def _pane(text: str, *, visible: bool = True) -> Any:
    return panel.pane.HTML(text, stylesheets=[STYLE], sizing_mode="stretch_width", margin=(4, 12), visible=visible)


class RunTabs:
    """The tabs of the page. Each but the first is made when it is first shown; a tab out of sight costs nothing.

    Args:
        body: the first tab.
        look: brings the first tab up to date.
        seen: returns the run as it was seen last.
    """

    def __init__(self, watcher: Watcher, name: str, body: Any, look: Look, seen: Callable[[], RunView]) -> None:
        self._watcher = watcher
        self._name = name
        self._seen = seen
        self._looks: dict[str, Look] = {FIRST: look}
        self._places = {tab: panel.Column(sizing_mode="stretch_width", margin=0) for tab in OTHERS}
        self._names = (FIRST, *OTHERS)
        self.view = tabs(self._names, [body, *self._places.values()])
        self.view.param.watch(lambda _event: self.look(), ["active"])
        self.look()  # it is drawn with what is in it

    def look(self) -> None:
        """Bring the visible tab up to date."""
        shown, view = self._names[self.view.active], self._seen()
        if shown not in self._looks:
            self._looks[shown] = self._make(shown, view)
        self._looks[shown](view)

    def _make(self, name: str, view: RunView) -> Look:
        if name == "config":
            return self._placed(name, made := ConfigTab(self._watcher, self._name, view), made.look)
        if name == "overrides":
            return self._placed(name, provenance := ProvenanceTab(), provenance.look)
        if name == "log":
            return self._placed(name, log := LogTab(view), log.look)
        files = FilesTab(view.row.summary.run)
        return self._placed(name, files, lambda view: files.look(view.masking))

    def _placed(self, name: str, tab: Any, look: Look) -> Look:
        self._places[name].append(tab.view)
        return look
