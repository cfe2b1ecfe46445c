"""Two runs beside each other: where their configs and their edits differ, and one metric of both."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import panel
import panel_material_ui as pmui

from trainctl.panel.data.diff import config_difference, difference_table, edit_difference
from trainctl.panel.data.watcher import Watcher
from trainctl.panel.html import run_link
from trainctl.panel.pages.link import argument, remember
from trainctl.panel.pages.session import tick_while_open
from trainctl.panel.pages.theme import STYLE, frame
from trainctl.panel.widgets.overlay import Overlay
from trainctl.panel.widgets.pending import set_object
from trainctl.panel.widgets.summary import facts

TICK_MS = 1000


def compare_page(watcher: Watcher) -> pmui.Page:
    """Make the page of the two runs that the URL names."""
    return Compare(watcher).page


class Compare:
    """One browser's view of two runs."""

    def __init__(self, watcher: Watcher) -> None:
        stack = ExitStack()
        stack.enter_context(watcher.watching_rows())
        self._watcher = watcher
        names = list(watcher.rows())
        common: dict[str, Any] = {"size": "small", "margin": (8, 8), "width": 320}
        self._choices = [
            pmui.Select(label=f"{place} run", options=names or [""], value=_named(argument(key), names, at), **common)
            for at, (place, key) in enumerate((("first", "a"), ("second", "b")))
        ]
        self._heads = _pane()
        self._config = _pane()
        self._edits = _pane()
        self._overlay = Overlay(watcher, stack, argument("metric"))
        for choice in self._choices:
            choice.param.watch(lambda _event: self._other(), ["value"])
        self._overlay.metric.param.watch(lambda event: remember(metric=event.new or None), ["value"])
        main = [pmui.FlexBox(*self._choices, gap="0px"), self._heads, self._overlay.view, self._config, self._edits]
        self.page = frame("trainctl · compare", main, "./")
        self._overlay.choose(self._names)
        self._tick()
        tick_while_open(self._tick, TICK_MS, stack)

    @property
    def _names(self) -> list[str]:
        return [choice.value for choice in self._choices if choice.value]

    def _other(self) -> None:
        remember(a=self._choices[0].value or None, b=self._choices[1].value or None)
        self._overlay.choose(self._names)
        self._tick()

    def _tick(self) -> None:
        self._overlay.look()
        names = self._names
        views = [view for name in names if (view := self._watcher.view(name)) is not None]
        if len(views) != 2:
            set_object(self._heads, '<span class="dim">Choose two runs.</span>')
            return
        one, other = views
        set_object(
            self._heads,
            "".join(
                f"<h2 class='head'>{run_link(name)}</h2>{facts(v.row)}" for name, v in zip(names, views, strict=True)
            ),
        )
        config = difference_table(list(config_difference(one, other)), ("key", *names), "Both have the same config.")
        edits = difference_table(
            list(edit_difference(one, other)), ("step", "key", *names), "Both have the same edits."
        )
        set_object(self._config, f'<h2 class="head">Config</h2>{config}')
        set_object(self._edits, f'<h2 class="head">Changelog</h2>{edits}')


def _named(wanted: str, names: list[str], at: int) -> str:
    return wanted if wanted in names else names[min(at, len(names) - 1)] if names else ""


def _pane() -> Any:
    return panel.pane.HTML("", stylesheets=[STYLE], sizing_mode="stretch_width", margin=(6, 12))
