"""The table of results: seeds fold into one row; three formats that other programs read back."""

from __future__ import annotations

import csv
import io
import statistics
from pathlib import Path

import pytest
from made_sweep import make_run, make_sweep

from trainctl.panel.data.results import Results, results_of, to_csv, to_latex, to_markdown
from trainctl.panel.data.watcher import Watcher


@pytest.fixture
def results(tmp_path: Path) -> Results:
    make_sweep(tmp_path, 18)
    return results_of(Watcher(tmp_path).rows())


def test_runs_that_differ_in_their_seed_are_one_row(results: Results) -> None:
    assert results.keys == ["norm", "optim.lr"]
    assert results.metrics == ["result", "loss", "accuracy"]
    row = next(row for row in results.rows if row[0] == ["new", "0.1"])
    assert row[1] == 3
    cell = row[2][0]
    assert cell is not None
    assert cell.mean == pytest.approx(0.901)
    assert cell.deviation == pytest.approx(statistics.stdev([0.9, 0.901, 0.902]))
    assert cell.text() == "0.9010 ± 0.0010"


def test_failed_runs_do_not_count(results: Results) -> None:
    assert sum(number for _, number, _ in results.rows) == 17


def test_csv_is_read_back(results: Results) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(results))))
    assert len(lines) == len(results.rows)
    assert {line["norm"] for line in lines} == {"new", "batch"}
    assert float(lines[0]["loss"]) == 0.01


def test_markdown_and_latex_escape_what_means_something_there(tmp_path: Path) -> None:
    make_run(tmp_path, "a", ["k_1=x|y&z", "seed=1"], result=0.5)
    make_run(tmp_path, "b", ["k_1==1+2", "seed=2"], result=0.25)
    results = results_of(Watcher(tmp_path).rows())
    assert "| x\\|y&z | 1 | 0.5 |" in to_markdown(results)
    assert "k\\_1 & runs & result" in to_latex(results)
    assert "x\\textbar{}y\\&z & 1 & 0.5" in to_latex(results)
    assert "'=1+2" in to_csv(results)  # a spreadsheet would compute it
