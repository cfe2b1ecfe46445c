from __future__ import annotations

import doctest

import pytest

from trainctl import text as words
from trainctl.panel.html import html, link, run_link
from trainctl.panel.server import handle


def test_examples_in_the_docstrings_run() -> None:
    for module in (words, handle):
        assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((None, ""), (float("nan"), ""), (float("inf"), ""), (0.4, "0.4 s"), (9.96, "10 s"), (59.4, "59 s")),
        *((59.9, "1 min"), (252, "4 min 12 s"), (3600, "1 h"), (7384, "2 h 3 min"), (90000, "1 d 1 h")),
        (1e300, "> 30 years"),
    ],
)
def test_duration_shows_two_units(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


def test_html_escapes_attributes_too() -> None:
    assert html("\"'<>&") == "&quot;&#x27;&lt;&gt;&amp;"
    assert html(None) == ""


def test_links_escape_address_and_text() -> None:
    assert link("a?x=1&y", "<b>", "bar") == '<a class="bar" href="a?x=1&amp;y">&lt;b&gt;</a>'
    assert run_link("sweep/<b>", query="?tab=log") == '<a href="run/sweep%2F%3Cb%3E?tab=log">sweep/&lt;b&gt;</a>'


def test_config_value_is_one_line_and_cut() -> None:
    assert words.one_line({"a": [1, None]}) == "{a: [1, null]}"
    assert "\n" not in words.one_line(["x\ny"])
    assert len(words.one_line("x" * 1000)) == words.LONGEST
