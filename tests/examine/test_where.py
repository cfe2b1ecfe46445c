"""Conditions on runs: what they compare, and what is said of those that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainctl.errors import SettingError
from trainctl.examine.curve import MetricSummary
from trainctl.examine.row import Row
from trainctl.examine.where import chosen, in_order, terms_of
from trainctl.rundir.paths import RunDir


def row(name: str, **more: Any) -> Row:
    made = Row(RunDir(Path("/runs") / name), more.pop("state", "done"))
    for key, value in more.items():
        setattr(made, key, value)
    return made


LOSS = MetricSummary()
LOSS.add([0.5, 0.25])
ROWS = [
    row("a", start={"optim.lr": 0.1, "norm": "new", "on": True}, choices={"norm": "new"}, metrics={"loss": LOSS}),
    row("b", start={"optim.lr": 0.01, "norm": "batch"}, end={"optim.lr": 0.5}, choices={"norm": "batch"}, edits=1),
    row("c", start={"optim.lr": "auto", "sub.lr": 3}, state="failed", result={"accuracy": 0.9}),
]


@pytest.mark.parametrize(
    ("terms", "names"),
    [
        (["optim.lr>0.05"], "ab"),  # b was edited
        (["lr>=0.5"], "b"),
        (["lr<0.5"], "a"),  # of c it is not clear which
        (["optim.lr=auto"], "c"),
        (["optim.lr = 1e-1"], "a"),
        (["norm=new"], "a"),
        (["norm!=new"], "bc"),
        (["state=failed"], "c"),
        (["state!=failed norm=batch"], "b"),
        (["state!=failed", "norm=new"], "a"),
        (["loss<=0.25"], "a"),
        (["result.accuracy>0.5"], "c"),
        (["edits>0"], "b"),
        (["name=c"], "c"),
        (["on=true"], "a"),
        (["norm='new'"], "a"),
        ([], "abc"),
    ],
)
def test_condition_chooses(terms: list[str], names: str) -> None:
    assert "".join(each.run.name for each in chosen(ROWS, terms_of(terms))) == names


@pytest.mark.parametrize(
    ("term", "names"),
    [("lr<0.05", "b"), ("lr (metric)<0.05", "a"), ("lr (metric) < 0.05 lr>0.05", "a"), ("wd=2", "ab"), ("wd=7", "")],
)
def test_parameter_in_which_runs_differ_comes_before_a_metric_of_its_name_as_in_the_table(
    term: str, names: str
) -> None:
    small, large, decay = MetricSummary(), MetricSummary(), MetricSummary()
    for metric, value in ((small, 0.001), (large, 0.9), (decay, 2.0)):
        metric.add([value])
    rows = [
        row("a", start={"lr": 0.1, "wd": 7}, metrics={"lr": small, "wd": decay}),
        row("b", start={"lr": 0.01, "wd": 7}, metrics={"lr": large, "wd": decay}),
    ]
    assert "".join(each.run.name for each in chosen(rows, terms_of([term]))) == names
    assert [each.run.name for each in in_order(rows, "lr")] == ["b", "a"]
    assert [each.run.name for each in in_order(rows, "-lr (metric)")] == ["b", "a"]


@pytest.mark.parametrize(
    ("name", "names"), [("optim.lr", "abc"), ("-optim.lr", "bac"), ("norm", "bac"), ("-name", "cba"), ("loss", "abc")]
)
def test_rows_are_sorted_numbers_first_and_those_without_a_value_last(name: str, names: str) -> None:
    assert "".join(each.run.name for each in in_order(ROWS, name)) == names


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ("lr", "'lr' is not a condition; one is KEY=VALUE, or KEY with !=, <, <=, > or >=, such as lr>0.01"),
        ("=3", "'=3' is not a condition"),
        ("lr>x", "'lr>x': > compares numbers, and 'x' is not a number; = and != take any value"),
    ],
)
def test_text_that_is_no_condition_is_refused(term: str, message: str) -> None:
    with pytest.raises(SettingError) as refused:
        terms_of([term])
    assert message in str(refused.value)


def test_name_that_no_run_has_is_refused_with_those_close_to_it() -> None:
    with pytest.raises(SettingError, match=r"none of 3 runs has 'optim\.lrr'; did you mean optim\.lr\?"):
        chosen(ROWS, terms_of(["optim.lrr=1"]))
    with pytest.raises(SettingError, match="none of 3 runs has 'zzz'; they have edits, loss, name"):
        in_order(ROWS, "zzz")
    assert chosen([], terms_of(["zzz=1"])) == []
