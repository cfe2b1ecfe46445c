"""The page inside a notebook: `trainctl.panel_app(directory)` in Jupyter or VS Code, without a server of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import panel
import panel_material_ui as pmui

from trainctl.errors import RunDirError
from trainctl.panel.data.watcher import Watcher
from trainctl.panel.pages.run import RunPage
from trainctl.panel.pages.session import INLINE, Inline
from trainctl.panel.pages.sweep import overview_page
from trainctl.panel.widgets.control_row import Control, Controls

ALL = "all runs"


class InlineApp(panel.viewable.Viewer):  # type: ignore[misc]  # Panel is untyped
    """The runs of a directory and, once one is chosen, its page.

    Whoever has the notebook's kernel may edit, as on the command line. In an app that is served to others
    it only shows, unless `may_edit` says otherwise: nothing there tells one person from another.
    """

    def __init__(self, directory: Path, *, may_edit: bool | None = None) -> None:
        super().__init__()
        is_served = bool(panel.state.curdoc and panel.state.curdoc.session_context)
        self._may_edit = not is_served if may_edit is None else may_edit
        self._watcher = Watcher(directory)
        self._watcher.start()
        self._shown: Inline | None = None
        names = [ALL, *self._watcher.fresh_rows()]
        self._choice = Controls(
            [Control("run", "choice", "run", width=400)], lambda: self.show(self._choice.text("run")), margin=(8, 12)
        )
        self._choice.show("run", options=names, value=ALL)
        # Panel's own: in Material's, plots that replace other plots are measured too early
        self._body = panel.Column(sizing_mode="stretch_width", margin=0)
        self._view = pmui.Column(self._choice.view, self._body, sizing_mode="stretch_width")
        self.show(ALL)
        if is_served:
            panel.state.on_session_destroyed(lambda _context: self.close())

    def __panel__(self) -> Any:
        return self._view

    def show(self, name: str) -> None:
        """Show the page of one run, or of all; the one before is no longer kept up to date."""
        self._leave()
        self._shown = Inline(self._may_edit)
        told = INLINE.set(self._shown)
        try:
            view = self._watcher.view(name) if name != ALL else None
            page = overview_page(self._watcher) if view is None else RunPage(self._watcher, name, view).page
        finally:
            INLINE.reset(told)
        self._body[:] = list(page.main)
        self._choice.show("run", options=[ALL, *self._watcher.rows()])

    def close(self) -> None:
        """Read no files any more."""
        self._leave()
        self._watcher.close()

    def _leave(self) -> None:
        if self._shown is not None:
            self._shown.closing.close()
            self._shown = None


def panel_app(directory: str | Path = "outputs", *, may_edit: bool | None = None) -> InlineApp:
    """Return the page of a directory of runs as a Panel object that a notebook shows inline.

    Args:
        directory: a sweep, or any directory of runs.
        may_edit: whether it may ask for changes; by default in a notebook, but not in an app that is served to others.

    Raises:
        RunDirError: there is no such directory.
    """
    root = Path(os.path.abspath(directory))
    if not root.is_dir():
        raise RunDirError(f"{str(directory)!r} is not a directory; name the one that holds your runs, such as outputs")
    panel.extension(notifications=False, sizing_mode=None)
    return InlineApp(root, may_edit=may_edit)
