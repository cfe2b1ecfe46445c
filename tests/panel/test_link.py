"""What the address says of a page: values that widgets begin with, and that are written when they change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import panel
import panel_material_ui as pmui
import pytest
from bokeh.document import Document
from hypothesis import given
from hypothesis import strategies as st
from panel.io.state import set_curdoc

from trainctl.panel.pages import link, session


@pytest.fixture
def location() -> Iterator[Any]:
    document = Document()
    with set_curdoc(document):
        yield panel.state.location


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the address that is opened says."""
    said: dict[str, str] = {}
    monkeypatch.setattr(link, "argument", lambda name: said.get(name, ""))
    return said


def test_address_holds_what_differs_from_the_defaults_and_nothing_else(location: Any, asked: dict[str, str]) -> None:
    smooth = pmui.FloatSlider(start=0, end=0.99, value=0.0)
    text = pmui.TextInput(value="")
    switch = pmui.Switch(value=False)
    several = pmui.MultiChoice(options=["a", "b,c", "%2C"], value=[])
    for name, widget in {"smooth": smooth, "filter": text, "logy": switch, "runs": several}.items():
        link.keep(widget, name)
    smooth.value = 0.6
    text.value = "lr>0.01 & 1e3"
    switch.value = True
    several.value = ["b,c", "%2C"]
    assert location.search == "?smooth=0.6&filter=lr%3E0.01+%26+1e3&logy=true&runs=b%252Cc,%25252C"
    text.value, switch.value, several.value = "", False, []
    assert location.search == "?smooth=0.6"
    smooth.value = 0.0
    assert location.search == ""


def test_widget_begins_with_what_the_address_says_if_it_can(location: Any, asked: dict[str, str]) -> None:
    asked.update(metric="loss", smooth="0.6", logy="true", number="nan", other="7", state="mad", runs="a,b%2Cc")
    metric = pmui.Select(options=["accuracy", "loss"], value="accuracy")
    smooth = pmui.FloatSlider(start=0, end=0.99, value=0.0)
    switch = pmui.Switch(value=False)
    number, other = (pmui.FloatSlider(start=0, end=0.99, value=0.25) for _ in range(2))
    state = pmui.Select(options=["all", "running"], value="all")
    several = pmui.MultiChoice(options=["a", "b,c"], value=[])
    for name, widget in {"metric": metric, "smooth": smooth, "logy": switch, "runs": several}.items():
        link.keep(widget, name)
    for name, widget in {"number": number, "other": other, "state": state}.items():
        link.keep(widget, name)
    assert (metric.value, smooth.value, switch.value, several.value) == ("loss", 0.6, True, ["a", "b,c"])
    assert (number.value, other.value, state.value) == (0.25, 0.25, "all")


@given(st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.lists(st.text(min_size=1))))
def test_value_is_read_as_it_was_written(value: Any) -> None:
    assert link.read(link.written(value), value) == value


def test_value_taken_out_leaves_the_others(location: Any) -> None:
    link.remember(tab="log", metric="loss")
    link.remember(tab=None, filter="")
    assert location.search == "?metric=loss&filter="


def test_failure_of_a_page_is_told_on_that_page_and_in_the_log(location: Any, caplog: pytest.LogCaptureFixture) -> None:
    here: list[str] = []
    there: list[str] = []
    session.show_failures(here.append)
    with set_curdoc(Document()):
        session.show_failures(there.append)
    session.failed(ValueError("no such key"))
    assert here == ["This was not done, because the page failed: ValueError: no such key"]
    assert there == []
    assert "no such key" in caplog.text
