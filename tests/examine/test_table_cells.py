"""What a cell may hold: any text comes back from each format as the text it is."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from examined import make
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from trainctl.errors import SettingError
from trainctl.examine import Examiner
from trainctl.examine.columns import mean_text
from trainctl.examine.frame import frame_of, statistics
from trainctl.examine.writing import is_numeral, plot, write
from trainctl.text import clean

ODD = [
    "a|b", "a\\|b", "a\\", "*x*", "__init__", "_a_ snake_case", "<b>x</b>", "`x`", "[a](http://x)", "[a][b]",
    "~~x~~", "&lt;", "&#38;", "$x$", "![a](b)", "<http://x>", '"quoted" text', "=1+1", "\n=1", " \t=1", "\r@x",
    "-2+3", "+1+1", "\0=1", "50%_&#${}~^", "--lr", "[0.9, 0.99]", "日本語", "\udcff", "\u2028-x",
]  # fmt: skip
_texts = st.one_of(st.sampled_from(ODD), st.text(max_size=12))
_parse = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse


def as_shown(text: str) -> str:
    """Return a text as a table for people has it."""
    return " ".join(clean(text).split(" ")).strip(" ")


@given(_texts, _texts)
@example("__init__", "a|b")
def test_markdown_shows_every_text_as_it_is(head: str, cell: str) -> None:
    table = frame_of({"run": ["a"]}, {f"x{head}": [f"x{cell}"]})
    cells = [token for token in _parse(write(table, "md")) if token.type == "inline"]
    shown = [(one.children or [])[0:] for one in cells]
    assert [{child.type for child in one} <= {"text", "text_special"} for one in shown] == [True] * 4
    texts = ["".join(child.content for child in one) for one in shown]
    assert texts == ["run", as_shown(f"x{head}"), "a", as_shown(f"x{cell}")]


@given(_texts)
@pytest.mark.parametrize(("form", "mark"), [("csv", ","), ("tsv", "\t")])
def test_spreadsheets_take_every_text_for_a_text(form: str, mark: str, cell: str) -> None:
    written = write(frame_of({"run": ["a"]}, {"x": [cell]}), form)
    _, (_, found) = csv.reader(io.StringIO(written, newline=""), delimiter=mark)
    text = cell.encode(errors="backslashreplace").decode()
    if form == "tsv" and not text.isprintable():
        text = " ".join(text.split())
    assert found in (text, f"'{text}")
    assert not found.lstrip().lstrip("\0")[:1].startswith(("=", "@"))
    assert (found[:1] not in ("+", "-")) or is_numeral(found)


@given(_texts)
def test_json_gives_every_text_back(cell: str) -> None:
    data = write(frame_of({"run": ["a"]}, {"x": [cell]}), "json").encode()
    assert json.loads(data)["rows"] == [{"run": "a", "x": cell}]


def test_latex_has_no_text_that_is_a_command() -> None:
    first = write(frame_of({"run": ODD}, {"x": ODD}), "latex").splitlines()[4:-2]
    assert [line for line in first if line.startswith(("[", "*"))] == []  # an argument of the line before
    lines = dict(zip(ODD, first, strict=True))
    assert lines["50%_&#${}~^"].partition(" & ")[0] == r"50\%\_\&\#\$\{\}\textasciitilde{}\textasciicircum{}"
    assert lines["<b>x</b>"].startswith(r"\textless{}b\textgreater{}x")
    assert lines["--lr"] == r"-{}-lr & -{}-lr \\"  # two hyphens would be a dash
    assert lines["[0.9, 0.99]"] == r"{}[0.9, 0.99] & [0.9, 0.99] \\"


def test_means_of_odd_sizes_stay_short() -> None:
    pairs = [(1e-5, 5e-324), (1e300, 1e299), (0.5, 1e-17), (1234567.0, 45678.9), (math.nan, None), (None, None)]
    assert [mean_text(*pair) for pair in pairs] == [
        "1e-05 ± 4.9e-324", "1e+300 ± 1e+299", "0.5 ± 1e-17", "1234567 ± 45679", "nan", "",
    ]  # fmt: skip
    assert statistics([0, 0, 1, 1], [10**400, 1, True, "x"], 2) == ([math.inf, None], [None, None], [2, 0])


def test_names_that_are_ours_too_stay_apart(tmp_path: Path) -> None:
    own = {"run": "x", "state": "y", "runs": 1, "reason": "z"}
    for at in range(2):
        config = {"lr": at / 8, **{key: f"{value}{at}" for key, value in own.items()}}
        make(tmp_path / f"r{at}", config, result=0.5, metrics=[{"lr": 0.25, "edits": 1.0, "runs": 2.0, "lr std": 3.0}])
    make(tmp_path / "r2", {"lr": 0.5}, state="failed", reason="boom")
    examiner = Examiner().exam(tmp_path)
    table = examiner.table()
    assert list(table.index) == ["r0", "r1", "r2"]
    assert (table["state"]["r2"], table["reason"]["r2"]) == ("failed", "boom")
    assert {"run (parameter)", "state (parameter)", "lr (metric)", "reason (parameter)"} <= set(table.columns)
    for asked in ({}, {"by": "lr,runs"}, {"by": "lr", "best": "lr:max"}):
        found: Any = examiner.table(**asked)
        row, heads = json.loads(write(found, "json"))["rows"][0], [*found.index.names, *found.columns]
        assert list(row) == heads
        assert len(set(heads)) == len(heads)


def test_a_label_is_no_formula(tmp_path: Path) -> None:
    for name in ("$a_0{x", "b$"):
        make(tmp_path / name, {"n": name}, result=0.5)
    table = Examiner().exam(tmp_path).table(by="n", metrics="result")
    plot(table, tmp_path / "out.svg")
    assert (tmp_path / "out.svg").stat().st_size
    with pytest.raises(SettingError, match=r"cannot be drawn: .*No such file"):
        plot(table, tmp_path / "nowhere" / "out.png")
    with pytest.raises(SettingError, match=r"does not say in which format .*end it in \.png"):
        plot(table, tmp_path / "out")
