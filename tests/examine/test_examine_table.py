"""The table: what is a column, what is one row, and the formats it is written in."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
import struct
from pathlib import Path
from typing import Any

import pytest
from examined import make
from hypothesis import given
from hypothesis import strategies as st

from trainctl.config.changelog import Changelog, dumps
from trainctl.config.keys import leaves
from trainctl.examine.cells import Cell
from trainctl.examine.configs import base_of
from trainctl.examine.examiner import Examiner
from trainctl.examine.table import Table
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir


@pytest.fixture
def sweep(tmp_path: Path) -> Examiner:
    """Two kinds of norm with three seeds each; one run has failed."""
    for norm in ("new", "batch"):
        for seed in range(3):
            failed = norm == "batch" and seed == 2
            make(
                tmp_path / f"Norm_{norm}-Seed_{seed}",
                {"norm": norm, "seed": seed, "lr": 0.1, "trainctl": {"seed": seed + 100}},
                f"norm={norm}",
                f"seed={seed}",
                state="failed" if failed else "done",
                result=0.5 + seed / 10 + (norm == "new"),
                metrics=[{"loss": 1.0 / (step + seed + 1)} for step in range(3)],
            )
    return Examiner().exam(tmp_path)


def test_seeds_fold_into_mean_deviation_and_count(sweep: Examiner) -> None:
    table = sweep.table(by="params", metrics=["result", "loss:min"])
    assert table.columns == ["norm", "runs", "not done", "result", "loss:min"]
    assert [row[:3] for row in table.rows] == [["batch", 2, 1], ["new", 3, 0]]
    assert table.rows[1][3] == Cell(pytest.approx(1.6), pytest.approx(statistics.stdev([1.5, 1.6, 1.7])), 3)
    assert table.rows[0][3].count == 2
    assert table.constants == {"lr": 0.1}


def test_runs_that_still_wait_make_no_column_of_what_is_the_same_in_all_others(tmp_path: Path) -> None:
    config = {"lr": 0.1, "norm": "new", "commands": {"train": "python train.py"}}
    make(tmp_path / "Lr_0.1", config, "lr=0.1", result=1)
    make(tmp_path / "Lr_0.2", {**config, "lr": 0.2, "norm": "batch"}, "lr=0.2", result=2)
    waiting = RunDir.at(tmp_path / "Lr_0.3")
    waiting.create()
    files.write_yaml(waiting.run, {"name": waiting.name, "overrides": ["lr=0.3"], "packages": {}})
    table = Examiner().exam(tmp_path).table(metrics="result")
    assert table.columns == ["run", "state", "lr", "norm", "result"]
    assert [row[1:4] for row in table.rows] == [["done", 0.1, "new"], ["done", 0.2, "batch"], ["queued", 0.3, None]]
    assert table.constants == {"commands.train": "python train.py"}


def test_the_best_of_each_group_is_named(sweep: Examiner) -> None:
    table = sweep.table(by="norm", best="result:max", metrics="loss:min")
    assert table.columns == ["norm", "best run", "result:max", "loss:min"]
    assert table.rows == [
        ["batch", "Norm_batch-Seed_1", 0.6, 0.25],
        ["new", "Norm_new-Seed_2", 1.7, 0.2],
    ]
    assert [row[1] for row in sweep.table(by="norm", best="loss:min").rows] == ["Norm_batch-Seed_1", "Norm_new-Seed_2"]


def test_machines_read_all_formats_back(sweep: Examiner) -> None:
    table = sweep.table(by="norm", metrics="result")
    exact = [[row[0], row[1], row[2], row[3].mean, row[3].deviation, row[3].count] for row in table.rows]
    for form, mark in (("csv", ","), ("tsv", "\t")):
        head, *lines = csv.reader(io.StringIO(table.write(form)), delimiter=mark)
        assert head == ["norm", "runs", "not done", "result", "result std", "result count"]
        assert [[one[0], *map(float, one[1:])] for one in lines] == exact
    content = json.loads(table.write("json"))
    assert content["constants"] == {"lr": 0.1}
    assert [list(row.values()) for row in content["rows"]] == exact
    frame = table.frame()
    assert frame.to_numpy().tolist() == exact
    assert frame.attrs["constants"] == {"lr": 0.1}


def test_people_read_text_markdown_and_latex(sweep: Examiner) -> None:
    table = sweep.table(by="norm", metrics="result")
    assert table.write("md").splitlines() == [
        "| norm | runs | not done | result |",
        "| --- | ---: | ---: | ---: |",
        "| batch | 2 | 1 | 0.550 ± 0.071 |",
        "| new | 3 | 0 | 1.60 ± 0.10 |",
        "",
        "the same in all: lr=0.1",
    ]
    assert table.write("latex").splitlines()[:6] == [
        "% the same in all: lr=0.1", r"\begin{tabular}{lrrr}", r"\toprule", r"norm & runs & not done & result \\",
        r"\midrule", r"batch & 2 & 1 & 0.550 $\pm$ 0.071 \\",
    ]  # fmt: skip
    assert str(table).splitlines()[2] == "new       3         0    1.60 ± 0.10"
    assert table._repr_html_().startswith("<div")


def test_cells_from_files_are_data_in_every_format() -> None:
    table = Table(["run", "a|b_c"], [["=1+2", "x|y & \x1b[31mz\n"], ["-new", math.nan]])
    assert "'=1+2" in table.write("csv")
    assert "'=1+2\t" in table.write("tsv")
    assert table.write("tsv").count("\n") == 3
    assert "| x\\|y & z" in table.write("md")
    assert r"x\textbar{}y \& z" in table.write("latex")
    assert "\x1b" not in table.write("text") + table.write("md") + table.write("latex")
    assert json.loads(table.write("json"))["rows"][1]["a|b_c"] == "nan"


def test_a_plot_has_a_point_with_its_deviation_for_each_row(sweep: Examiner, tmp_path: Path) -> None:
    file = tmp_path / "out.png"
    sweep.table(by="norm", metrics=["result", "loss:min"]).plot(file)
    data = file.read_bytes()
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    assert width > 300
    assert height > 300
    svg = tmp_path / "out.svg"
    sweep.table(by="norm", metrics="result").plot(svg)
    assert "<svg" in svg.read_text()


_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20),
    st.sampled_from(["a\nb\n\n c", "- x", "# no", "a: b", "  ", "'", '"', "{}", "~", "${x}", "null", "1e-4", "#."]),
)  # fmt: skip
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=6), inner, max_size=3),
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.one_of(st.text(max_size=6), st.integers(), st.sampled_from(["-", "- a", "?", "#", "a b"])), _values
    )
)
def test_configs_read_in_parts_are_those_read_whole(config: dict[Any, Any]) -> None:
    text = dumps(Changelog(config))
    found = base_of(text)
    assert found is None or found == leaves(config)


def test_plain_configs_are_read_in_parts() -> None:
    config = {
        "norm": {"name": "new"},
        "optim": {"lr": 1e-5, "betas": [0.9, 0.999], "list": [[1], [2]]},
        "x": ["a"],
        "e": {},
    }
    assert base_of(dumps(Changelog(config))) == leaves(config)
