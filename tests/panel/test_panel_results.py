"""The table of results: seeds fold into one row; three formats that other programs read back."""

from __future__ import annotations

import csv
import io
import statistics
from pathlib import Path

import pandas as pd
import pytest
from made_sweep import make_run, make_sweep

from trainctl.examine.writing import keys_of, write
from trainctl.panel.data.watcher import Watcher
from trainctl.panel.widgets.results import results_of, table_of


@pytest.fixture
def results(tmp_path: Path) -> pd.DataFrame:
    make_sweep(tmp_path, 18)
    return results_of(Watcher(tmp_path).rows())


def test_runs_that_differ_in_their_seed_are_one_row(results: pd.DataFrame) -> None:
    assert keys_of(results) == ["norm", "optim.lr"]
    assert results.attrs["means"] == ["result", "loss", "accuracy"]
    row = results.loc[("new", "0.1")]
    assert row[["runs", "result count"]].tolist() == [3, 3]
    assert row["result"] == pytest.approx(0.901)
    assert row["result std"] == pytest.approx(statistics.stdev([0.9, 0.901, 0.902]))
    assert '<td class="mono">new</td><td class="mono">0.1</td><td class="num">3</td>' in table_of(results)
    assert '<td class="num mono">0.9010 ± 0.0010</td>' in table_of(results)


def test_failed_runs_do_not_count(results: pd.DataFrame) -> None:
    assert results["runs"].sum() == 17


def test_csv_is_read_back(results: pd.DataFrame) -> None:
    lines = list(csv.DictReader(io.StringIO(write(results, "csv"))))
    assert len(lines) == len(results)
    assert {line["norm"] for line in lines} == {"new", "batch"}
    assert float(lines[0]["loss"]) == 0.01


def test_markdown_and_latex_escape_what_means_something_there(tmp_path: Path) -> None:
    make_run(tmp_path, "a", ["k_1=x|y&z", "seed=1"], result=0.5)
    make_run(tmp_path, "b", ["k_1==1+2", "seed=2"], result=0.25)
    results = results_of(Watcher(tmp_path).rows())
    assert "| x\\|y&z | 1 | 0.5 |" in write(results, "md")
    assert "k\\_1 & runs & result" in write(results, "latex")
    assert "x\\textbar{}y\\&z & 1 & 0.5" in write(results, "latex")
    assert "'=1+2" in write(results, "csv")  # a spreadsheet would compute it
