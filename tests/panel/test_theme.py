"""Pages leave nothing behind in the process that serves them."""

from __future__ import annotations

import gc
import weakref

import pytest

panel = pytest.importorskip("panel")


def test_page_that_is_closed_is_forgotten_by_the_process() -> None:
    from trainctl.panel.pages.theme import frame

    before = list(panel.state.param.watchers.get("busy", {}).get("value", []))
    page = frame("a page", [])
    assert page.busy is False
    assert panel.state.param.watchers.get("busy", {}).get("value", []) == before
    known = weakref.ref(page)
    del page
    gc.collect()
    assert known() is None
