"""The table: what is a column, what is one row, and the formats it is written in."""

from __future__ import annotations

import csv
import io
import json
import math
import re
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
from trainctl.examine.examiner import Examiner
from trainctl.examine.frame import frame_of, values_of
from trainctl.examine.row import base_of
from trainctl.examine.writing import plot, write
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
    assert table.index.tolist() == ["batch", "new"]
    assert table.index.name == "norm"
    assert list(table) == [
        "runs", "not done", "result", "result std", "result count", "loss:min", "loss:min std", "loss:min count",
    ]  # fmt: skip
    assert table[["runs", "not done", "result count"]].to_numpy().tolist() == [[2, 1, 2], [3, 0, 3]]
    assert table.loc["new", "result"] == pytest.approx(1.6)
    assert table.loc["new", "result std"] == pytest.approx(statistics.stdev([1.5, 1.6, 1.7]))
    assert table.attrs == {"constants": {"lr": 0.1}, "keys": ["norm"], "means": ["result", "loss:min"]}


def test_runs_that_still_wait_make_no_column_of_what_is_the_same_in_all_others(tmp_path: Path) -> None:
    config = {"lr": 0.1, "norm": "new", "commands": {"train": "python train.py"}}
    make(tmp_path / "Lr_0.1", config, "lr=0.1", result=1)
    make(tmp_path / "Lr_0.2", {**config, "lr": 0.2, "norm": "batch"}, "lr=0.2", result=2)
    waiting = RunDir.at(tmp_path / "Lr_0.3")
    waiting.create()
    files.write_yaml(waiting.run, {"name": waiting.name, "overrides": ["lr=0.3"], "packages": {}})
    table = Examiner().exam(tmp_path).table(metrics="result")
    assert values_of(table) == {
        "run": ["Lr_0.1", "Lr_0.2", "Lr_0.3"], "state": ["done", "done", "queued"], "lr": [0.1, 0.2, 0.3],
        "norm": ["new", "batch", None], "result": [1, 2, None],
    }  # fmt: skip
    assert str(table["result"].dtype) == "Int64"
    assert table.attrs["constants"] == {}  # a command is no parameter


def test_what_is_missing_is_no_value_and_no_parameter_of_all(tmp_path: Path) -> None:
    for lr, size in ((0.1, "???"), (0.2, 8), (0.3, "???")):
        config = {"lr": lr, "size": size, "model": {"vocab": "???"}, "given": "???"}
        make(tmp_path / f"Lr_{lr}", config, f"lr={lr}", "+given=???", result=1)
    table = Examiner().exam(tmp_path).table(metrics="result")
    assert (values_of(table)["size"], table.attrs["constants"]) == ([None, 8, None], {})
    assert "???" not in str(values_of(table))


def test_the_best_of_each_group_is_named(sweep: Examiner) -> None:
    table = sweep.table(by="norm", best="result:max", metrics="loss:min")
    assert values_of(table) == {
        "norm": ["batch", "new"], "best run": ["Norm_batch-Seed_1", "Norm_new-Seed_2"], "result:max": [0.6, 1.7],
        "loss:min": [0.25, 0.2],
    }  # fmt: skip
    assert list(sweep.table(by="norm", best="loss:min")["best run"]) == ["Norm_batch-Seed_1", "Norm_new-Seed_2"]


def test_machines_read_all_formats_back(sweep: Examiner) -> None:
    table = sweep.table(by="norm", metrics="result")
    exact = table.reset_index().to_numpy().tolist()
    for form, mark in (("csv", ","), ("tsv", "\t")):
        head, *lines = csv.reader(io.StringIO(write(table, form)), delimiter=mark)
        assert head == ["norm", "runs", "not done", "result", "result std", "result count"]
        assert [[one[0], *map(float, one[1:])] for one in lines] == exact
    content = json.loads(write(table, "json"))
    assert content["constants"] == {"lr": 0.1}
    assert [list(row.values()) for row in content["rows"]] == exact


def test_people_read_markdown_and_latex(sweep: Examiner) -> None:
    table = sweep.table(by="norm", metrics="result")
    assert write(table, "md").splitlines() == [
        "| norm | runs | not done | result |",
        "| --- | ---: | ---: | ---: |",
        "| batch | 2 | 1 | 0.550 ± 0.071 |",
        "| new | 3 | 0 | 1.60 ± 0.10 |",
        "",
        "the same in all: lr=0.1",
    ]
    assert write(table, "latex").splitlines()[:6] == [
        "% the same in all: lr=0.1", r"\begin{tabular}{lrrr}", r"\toprule", r"norm & runs & not done & result \\",
        r"\midrule", r"batch & 2 & 1 & 0.550 $\pm$ 0.071 \\",
    ]  # fmt: skip
    assert "result ±" not in write(table[["runs", "result"]], "md")  # a mean without its deviation is a number


def test_numbers_stay_what_they_are(tmp_path: Path) -> None:
    """A count beside a missing one stays whole, 1 beside 0.5 too; a loss that diverged is not one that is missing."""
    big = 2**70
    values: list[dict[str, Any]] = [
        {"n": 3, "mixed": 1, "flag": True, "big": big, "loss": math.nan, "all": 0.1},
        {"mixed": 0.5, "loss": math.inf, "all": 1e-5},
        {"n": 4, "mixed": 2, "flag": False, "big": 1, "all": 0.30000000000000004},
    ]
    for at in range(3):
        make(tmp_path / str(at), {"x": at})
    table = Examiner().add(lambda run: values[int(run.name)]).exam(tmp_path).table(metrics=list(values[0]))
    assert {head: str(dtype) for head, dtype in table.dtypes.items()} == {
        "x": "int64", "n": "Int64", "mixed": "object", "flag": "boolean", "big": "object", "loss": "Float64",
        "all": "float64",
    }  # fmt: skip
    assert write(table, "csv").splitlines() == [
        "run,x,n,mixed,flag,big,loss,all",
        f"0,0,3,1,true,{big},nan,0.1",
        "1,1,,0.5,,,inf,1e-05",
        "2,2,4,2,false,1,,0.30000000000000004",
    ]
    assert table.to_csv().splitlines()[1:3] == [f"0,0,3,1,True,{big},nan,0.1", "1,1,,0.5,,,inf,1e-05"]  # pandas' own
    assert json.loads(write(table, "json"))["rows"][0] == {"run": "0", "x": 0, **values[0], "loss": "nan"}
    assert [row["loss"] for row in json.loads(write(table, "json"))["rows"]] == ["nan", "inf", None]
    for form in ("md", "latex"):
        assert [mark in write(table, form) for mark in ("nan", "inf")] == [True, True]


def test_a_run_that_diverged_spoils_the_mean_of_its_group_and_one_without_a_value_does_not(tmp_path: Path) -> None:
    losses: list[Any] = [math.nan, 1.0, 2.0, 4.0, None, math.inf, 5.0, None]
    for at, loss in enumerate(losses):
        make(tmp_path / f"r{at}", {"n": at // 2, "seed": at}, metrics=[] if loss is None else [{"loss": loss}])
    table = Examiner().exam(tmp_path).table(by="n", metrics="loss")
    found = write(table, "csv").splitlines()
    assert found[1] == "0,2,nan,,2"
    assert found[2].startswith("1,2,3.0,1.41421356")
    assert found[3:] == ["2,2,inf,,1", "3,2,5.0,,1"]
    assert [line.split("|")[3].strip() for line in write(table, "md").splitlines()[2:6]] == [
        "nan", "3.0 ± 1.4", "inf", "5",
    ]  # fmt: skip


def test_groups_by_several_parameters_are_a_multiindex(tmp_path: Path) -> None:
    for at, (betas, flag) in enumerate([([0.9, 0.999], True), ([0.9, 0.99], 1), ([0.9, 0.999], None)]):
        make(tmp_path / f"r{at}", {"betas": betas, "flag": flag, "seed": at}, result=at)
    table = Examiner().exam(tmp_path).table(by="betas,flag", metrics="result")
    assert table.index.names == ["betas", "flag"]
    assert table.index.tolist() == [("[0.9, 0.999]", "true"), ("[0.9, 0.99]", "1"), ("[0.9, 0.999]", "")]
    assert write(table, "csv").splitlines()[1:] == [
        '"[0.9, 0.999]",true,1,0.0,,1', '"[0.9, 0.99]",1,1,1.0,,1', '"[0.9, 0.999]",,1,2.0,,1',
    ]  # fmt: skip
    mixed = frame_of({"lr": [1, 0.5, 0.1], "n": ["a", None, "a"]}, {"x": [1, 2, 3]})
    assert [mixed.index.names, *values_of(mixed).values()] == [["lr", "n"], [1, 0.5, 0.1], ["a", None, "a"], [1, 2, 3]]
    assert [type(one) for one in values_of(mixed)["lr"]] == [int, float, float]


def test_cells_from_files_are_data_in_every_format() -> None:
    table = frame_of({"run": ["=1+2", "-new"]}, {"a|b_c": ["x|y & \x1b[31mz\n", math.nan]})
    assert "'=1+2" in write(table, "csv")
    assert "'=1+2\t" in write(table, "tsv")
    assert write(table, "tsv").count("\n") == 3
    assert "| x\\|y & z" in write(table, "md")
    assert r"x\textbar{}y \& z" in write(table, "latex")
    assert "\x1b" not in write(table, "md") + write(table, "latex")
    assert json.loads(write(table, "json"))["rows"][1]["a|b_c"] == "nan"


def test_a_plot_has_a_point_with_its_deviation_for_each_row(sweep: Examiner, tmp_path: Path) -> None:
    file = tmp_path / "out.png"
    plot(sweep.table(by="norm", metrics=["result", "loss:min"]), file)
    data = file.read_bytes()
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    assert width > 300
    assert height > 300
    svg = tmp_path / "out.svg"
    plot(sweep.table(by="norm", metrics="result"), svg)
    assert "<svg" in svg.read_text()


def test_plot_says_where_a_run_has_diverged(tmp_path: Path) -> None:
    for name, loss in (("a", 0.5), ("b", math.nan), ("c", math.inf)):
        make(tmp_path / "sweep" / name, {"name": name})
        run = RunDir.at(tmp_path / "sweep" / name)
        files.append_lines(run.metrics, [{"step": 1, "t": 1.0, "loss": loss}])
    drawn = tmp_path / "out.svg"
    plot(Examiner().exam(tmp_path / "sweep").table(metrics="loss"), drawn)
    assert {"<!-- nan -->", "<!-- inf -->"} <= set(re.findall("<!-- .* -->", drawn.read_text()))


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
