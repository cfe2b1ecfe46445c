"""The figures of `docs/benchmarks.md`: what is written, and what `make bench-check` refuses."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
RATIOS = {"ours / theirs": 0.5, "a step / an empty call": 2.0}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The driver, with one figure that costs nothing beside its own."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("bench")
    figure = importlib.import_module("figure").Figure
    made = figure(
        "cheap", "A cheap figure", "Nothing was done.", ["", "ms"], [["ours", 1.0], ["theirs", 2.0]], dict(RATIOS)
    )
    made.bars = [("trainctl", 1.0), ("theirs <1>", 2.0)]
    monkeypatch.setitem(module.FIGURES, "cheap", lambda _: made)
    return module


def stored(path: Path, ratios: dict[str, float]) -> Path:
    path.write_text(json.dumps({"figures": [{"key": "cheap", "ratios": ratios}]}))
    return path


def test_check_passes_with_the_same_ratios(bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench.check(stored(tmp_path / "benchmarks.json", RATIOS), ["cheap", "step"], long=False)
    assert capsys.readouterr().out == "none of 2 ratios has risen by more than 20 %\n"


def test_check_fails_where_a_ratio_was_better_by_more_than_a_fifth(
    bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    doctored = stored(tmp_path / "benchmarks.json", {**RATIOS, "a step / an empty call": 1.6})
    with pytest.raises(SystemExit, match=r"^a ratio has risen by more than 20 %, measured twice$"):
        bench.check(doctored, ["cheap"], long=False)
    assert capsys.readouterr().out == "cheap: a step / an empty call was 1.6, now 2 (+25 %)\n"


def test_check_that_compares_nothing_fails(bench: Any, tmp_path: Path) -> None:
    for ratios, keys in (({"another": 1.0}, ["cheap"]), (RATIOS, ["step"])):
        with pytest.raises(SystemExit, match=r"^nothing was compared: no ratio that was measured now is in "):
            bench.check(stored(tmp_path / "benchmarks.json", ratios), keys, long=False)


def test_check_measures_again_what_seems_slower(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = bench.FIGURES["cheap"](False)
    slower = type(figure)("cheap", "", "", [], ratios={**RATIOS, "ours / theirs": 5.0})
    answers = [slower, figure]
    monkeypatch.setitem(bench.FIGURES, "cheap", lambda _: answers.pop(0))
    bench.check(stored(tmp_path / "benchmarks.json", RATIOS), ["cheap"], long=False)
    assert answers == []


def test_figure_that_cannot_be_measured_fails_the_check(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(_: bool) -> Any:
        raise RuntimeError("mlrunner: 3 of 40 jobs ran")

    monkeypatch.setitem(bench.FIGURES, "cheap", measure)
    with pytest.raises(SystemExit, match="cheap: RuntimeError: mlrunner: 3 of 40 jobs ran"):
        bench.check(stored(tmp_path / "benchmarks.json", RATIOS), ["cheap"], long=False)


def test_page_is_written_with_tables_and_pictures(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.py", "--only", "cheap", "--page", str(tmp_path)])
    bench.main()
    page = (tmp_path / "benchmarks.md").read_text()
    assert (
        "## A cheap figure\n\nNothing was done.\n\n|   | ms |\n|---|--:|\n| ours | 1.00 |\n| theirs | 2.00 |\n" in page
    )
    assert re.search(r"^Measured on \d{4}-\d\d-\d\d in .*\d+ cores, \d+ GiB, Python 3\.", page, re.MULTILINE)
    assert "hydra-core " in page
    for picture in re.findall(r"\]\((.*\.svg)\)", page):
        ElementTree.parse(tmp_path / picture)
    kept = json.loads((tmp_path / "benchmarks.json").read_text())
    assert kept["figures"][0]["ratios"] == RATIOS


@pytest.mark.parametrize("name", ["bench", "figure", "report", "figures_of_sweeps", "measuring"])
def test_examples_of_the_benchmarks_are_true(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.long
def test_recording_is_measured_for_real(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    command = [sys.executable, str(BENCHMARKS / "bench.py"), "--only", "recording", "--page", str(tmp_path)]
    subprocess.run(command, check=True, timeout=280)
    (figure,) = json.loads((tmp_path / "benchmarks.json").read_text())["figures"]
    assert 0.5 < figure["ratios"]["time per step, recorded / plain"] < 2
    assert (tmp_path / "benchmarks" / "recording.svg").is_file()
