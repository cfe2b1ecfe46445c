"""What the address says of a page: values that widgets begin with, and that are written when they change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import panel
import pytest
from bokeh.document import Document
from hypothesis import given
from hypothesis import strategies as st
from panel.io.state import set_curdoc

from trainctl.panel.pages import session


@pytest.fixture
def location() -> Iterator[Any]:
    document = Document()
    with set_curdoc(document):
        yield panel.state.location


def test_address_says_what_is_shown(location: Any) -> None:
    session.remember(smooth="0.6", filter="lr>0.01 & 1e3", runs=session.written(["b,c", "%2C"]))
    assert location.search == "?smooth=0.6&filter=lr%3E0.01+%26+1e3&runs=b%252Cc,%25252C"
    session.remember(filter=None, runs=None)
    assert location.search == "?smooth=0.6"


@given(st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.lists(st.text(min_size=1))))
def test_value_is_read_as_it_was_written(value: Any) -> None:
    assert session.read(session.written(value), value) == value


def test_value_taken_out_leaves_the_others(location: Any) -> None:
    session.remember(tab="log", metric="loss")
    session.remember(tab=None, filter="")
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
