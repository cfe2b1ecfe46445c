"""Which page is where. A later page is one more line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import panel

from trainctl.panel.data.watcher import Watcher
from trainctl.panel.pages.compare import compare_page
from trainctl.panel.pages.run import run_page
from trainctl.panel.pages.sweep import overview_page


def pages_of(watcher: Watcher) -> dict[str, Callable[[], None]]:
    """Return the pages by route. A run's name may hold slashes; in a URL they are `%2F`, so it is one part of it."""

    def overview() -> None:
        _serve_document(overview_page(watcher))

    def run() -> None:
        _serve_document(run_page(watcher))

    def compare() -> None:
        _serve_document(compare_page(watcher))

    return {"/": overview, "/compare": compare, r"/run/(?P<name>[^/]+)": run}


def _serve_document(page: Any) -> None:
    """Put a page into the session's document under its own title."""
    page.server_doc(panel.state.curdoc, title=page.title, location=True)
