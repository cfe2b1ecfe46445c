"""Pages have one scale of text and distances, and leave nothing behind in the process that serves them."""

from __future__ import annotations

import gc
import re
import weakref
from pathlib import Path

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


PARTS = Path(__file__).parents[2] / "trainctl" / "panel"
DISTANCES = {"0", "2px", "4px", "8px", "12px", "16px"}
SIZES = {"11px", "12px", "13px", "18px"}


def lengths(text: str, names: str) -> set[str]:
    """Return the lengths that a style gives to these properties."""
    said = re.findall(rf"(?<![\w-])(?:{names}): ?([^;\"'}}`]*)", text)
    return {length for each in said for length in re.findall(r"(?<![\w.])[0-9.]+(?:px|em|rem|pt)\b", each)}


def test_all_parts_have_one_scale_of_text_and_one_of_distances() -> None:
    texts = {path.name: path.read_text() for path in PARTS.rglob("*") if path.suffix in (".js", ".css", ".py")}
    assert len(texts) > 40
    found = {name: lengths(text, "font|font-size") - SIZES for name, text in texts.items()}
    assert {name: sizes for name, sizes in found.items() if sizes} == {}
    spaces = r"padding(?:-\w+)?|margin(?:-\w+)?|gap"
    found = {name: lengths(text, spaces) - DISTANCES for name, text in texts.items()}
    assert {name: sizes for name, sizes in found.items() if sizes} == {}
