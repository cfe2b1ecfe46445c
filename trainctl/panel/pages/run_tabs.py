"""The tabs of a run page: each but the first is made when it is first seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel

from trainctl.panel.data.run_view import RunView
from trainctl.panel.data.watcher import Watcher
from trainctl.panel.pages.theme import tabs
from trainctl.panel.widgets.config import ConfigTab, ProvenanceTab
from trainctl.panel.widgets.files import FilesTab
from trainctl.panel.widgets.log import LogTab

FIRST = "run"
OTHERS = ("config", "overrides", "log", "files")

Look = Callable[[RunView], None]


class RunTabs:
    """Brings what is in sight up to date; what is not in sight costs nothing.

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
        """Bring the tab that is in sight up to date."""
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
