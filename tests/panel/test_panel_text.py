from __future__ import annotations

import doctest

import pytest

from trainctl.panel import text as words
from trainctl.panel.server import handle


def test_examples_in_the_docstrings_run() -> None:
    for module in (words, handle):
        assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.4, "0 s"), (59.9, "59 s"), (60, "1 min"), (3600, "1 h"), (90000, "1 d 1 h")]
)
def test_duration_shows_two_units(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


def test_html_escapes_attributes_too() -> None:
    assert words.html("\"'<>&") == "&quot;&#x27;&lt;&gt;&amp;"
    assert words.html(None) == ""


def test_value_text_is_one_line_and_cut() -> None:
    assert words.value_text({"a": [1, None]}) == "{a: [1, null]}"
    assert "\n" not in words.value_text(["x\ny"])
    assert len(words.value_text("x" * 1000)) == words.LONGEST + 2
