"""Which jobs a union of grids has, and what is refused."""

from __future__ import annotations

import itertools
import random
import re
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from trainctl.config.grid import Grid, axis_of, check_number, choose, combine, read_grids, shuffling
from trainctl.config.overrides import worded
from trainctl.errors import SettingError

PARSER = OverridesParser.create()
parse = PARSER.parse_overrides


def grids(*raw: Any) -> list[Grid]:
    return read_grids(list(raw), parse)


def jobs(*raw: Any, line: str = "", sample: int | None = None, seed: int = 0) -> list[str]:
    given_axes = [axis_of(override) for override in parse(line.split())]
    return [" ".join(job) for job in combine(grids(*raw), given_axes, sample=sample, seed=seed)]


def test_jobs_come_grid_by_grid_the_last_key_changing_fastest() -> None:
    assert jobs({"norm": "new,batch", "moment": "0.1,0.05"}, {"_title": "early", "norm": "batch", "stop": "true"}) == [
        "norm=new moment=0.1",
        "norm=new moment=0.05",
        "norm=batch moment=0.1",
        "norm=batch moment=0.05",
        "norm=batch stop=true",
    ]


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        ("range(1,4)", ["a=1", "a=2", "a=3"]),
        ("choice(x,'y z')", ["a=x", "a=y\\ z"]),
        ("sort(3,1,2)", ["a=1", "a=2", "a=3"]),
        ("[0.9,0.99],[1,2]", ["a=[0.9,0.99]", "a=[1,2]"]),
        ("true,false", ["a=true", "a=false"]),
        (["x", "true", True, None, 1e-05, "p q", [1, 2]], ["x", "'true'", "true", "null", "1e-05", "'p q'", "[1,2]"]),
        (0.1, ["a=0.1"]),
        (None, ["a=null"]),
        ("[1,2]", ["a=[1,2]"]),
        ("1,1,2", ["a=1", "a=2"]),
    ],
)
def test_values_are_in_hydras_sweep_syntax_or_a_list(value: Any, lines: list[str]) -> None:
    assert jobs({"a": value}) == [line if line.startswith("a=") else f"a={line}" for line in lines]


def test_keys_may_be_added_and_removed() -> None:
    assert jobs({"+a": "1,2", "~b": None, "db@src": "x"})[0] == "+a=1 ~b db@src=x"


def test_zipped_keys_change_together() -> None:
    raw = {"_zip": ["lr", "batch"], "lr": "0.1,0.2", "norm": "x,y", "batch": [8, 16]}
    assert jobs(raw) == [
        "lr=0.1 batch=8 norm=x",
        "lr=0.1 batch=8 norm=y",
        "lr=0.2 batch=16 norm=x",
        "lr=0.2 batch=16 norm=y",
    ]
    two = {"_zip": [["a", "b"], ["c", "d"]], "a": "1,2", "b": "3,4", "c": "5,6", "d": "7,8"}
    assert [len(jobs(two)), jobs(two)[1]] == [4, "a=1 b=3 c=6 d=8"]


def test_command_line_multiplies_every_grid_and_wins_over_its_keys() -> None:
    assert jobs({"a": "1,2"}, {"b": "3"}, line="c=x,y") == [
        "a=1 c=x",
        "a=1 c=y",
        "a=2 c=x",
        "a=2 c=y",
        "b=3 c=x",
        "b=3 c=y",
    ]
    assert jobs({"a": "1,2", "b": "1,2"}, line="a=7") == ["b=1 a=7", "b=2 a=7"]
    assert jobs({"_zip": ["a", "b"], "a": "1,2", "b": "3,4"}, line="++b=9") == ["a=1 ++b=9", "a=2 ++b=9"]
    assert jobs({"a": "1,2"}, line="a=7,8") == ["a=7", "a=8"]


def test_sample_is_the_same_by_seed_in_order_and_of_each_grid() -> None:
    raw = ({"a": "range(0,100)", "b": "range(0,100)"}, {"c": "range(0,3)"})
    whole, some = jobs(*raw), jobs(*raw, sample=5, seed=3)
    assert some == jobs(*raw, sample=5, seed=3) != jobs(*raw, sample=5, seed=4)
    assert len(some) == 8
    assert some == [job for job in whole if job in some]
    assert len(jobs(*raw, line="z=1,2", sample=5)) == 2 * (5 + 3)
    huge = {chr(97 + n): "range(0,1000)" for n in range(10)}
    assert len(set(jobs(huge, sample=20))) == 20  # of 10**30, which are never listed


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_combinations_are_those_of_itertools(sizes: list[int]) -> None:
    raw = {f"k{n}": f"range(0,{size})" for n, size in enumerate(sizes)}
    product = itertools.product(*(range(size) for size in sizes))
    assert jobs(raw) == [" ".join(f"k{n}={value}" for n, value in enumerate(values)) for values in product]


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("ab',\"\\$[]{}:= \t()#%;!|é1.")
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=4)


@given(values)
def test_worded_value_reads_back_as_the_same_value(value: Any) -> None:
    (override,) = parse([f"k={worded(value)}"])
    assert not override.is_sweep_override()
    assert repr(override.value()) == repr(value)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ([], "hydra.sweeper.grids is empty, so there is nothing to run"),
        (None, "hydra.sweeper.grids is empty, so there is nothing to run"),
        ("a=1", "must be a list of grids such as .* but got 'a=1'"),
        ({"a": "1,2"}, "must be a list of grids such as"),
        ([["a", 1]], r"grids\[0\] must be a mapping of keys to values"),
        ([{}], r"grids\[0\] is empty; name at least one key"),
        ([{"a": "1"}, {"_title": "x"}], r"grids\[1\] is empty; name at least one key"),
        ([{"a": []}], r"grids\[0\].a is an empty list"),
        ([{"a": " "}], r"grids\[0\].a is empty"),
        ([{"a": {"b": 1}}], "write each key below it with its full name, `a.…`"),
        ([{"a": "interval(0,1)"}], "interval has no values that could be listed; write choice"),
        ([{"a": "range(3,1)"}], "has no values"),
        ([{"a": "range(1,3,0)"}], r"grids\[0\].a: a range cannot have the step 0"),
        ([{"a": "range(1,3,step=0.0)"}], "a range cannot have the step 0"),
        ([{"a": "range(0,inf)"}], r"grids\[0\].a would be inf values, more than 1,000,000; take a larger step"),
        ([{"a": "1,2,"}], r"grids\[0\].a: Hydra cannot read 'a=1,2,': mismatched input '<EOF>'$"),
        ([{"b": "1"}, {"a": "[1,2"}], r"grids\[1\].a: Hydra cannot read 'a=\[1,2': no viable alternative at inp"),
        ([{"a": "foo(1)"}], "Hydra cannot read 'a=foo.1.': .*Unknown function 'foo'; Available: bool,choice"),
        ([{"lr:0.1": None}], r"grids\[0\].lr:0.1: Hydra cannot read 'lr:0.1=null': missing EQUAL at ':'$"),
        ([{1: "2,3"}], r"grids\[0\].1: Hydra cannot read '1=2,3': that is not a key$"),
        ([{"": "2,3"}], r"'=2,3' names no key"),
        ([{"_zip": ["a", "b"], "a": "1,2", "b": "1"}], "a and b pairwise, but there are 2 and 1"),
        ([{"_zip": ["a"], "a": "1,2"}], r"_zip=\['a'\] must list two or more keys of this grid, which are a"),
        ([{"_zip": "a,b", "a": "1,2", "b": "1"}], "must list two or more keys"),
        ([{"_zip": ["a", "c"], "a": "1,2", "b": "1"}], "two or more keys of this grid, which are a, b"),
        ([{"_zip": ["a", "a"], "a": "1,2"}], "names a twice"),
    ],
)
def test_grids_that_cannot_be_are_refused_with_a_reason(raw: Any, sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        read_grids(raw, parse)


def test_too_many_jobs_are_refused_before_they_are_listed() -> None:
    with pytest.raises(
        SettingError, match=r"would be 1,000,000,000 jobs, .* take some at random with hydra.sweeper.sam"
    ):
        jobs({"a": "range(0,1000)", "b": "range(0,1000)", "c": "range(0,1000)"})


@pytest.mark.parametrize("text", ["range(0,10**12)", "shuffle(range(0,10**12))", "range(10**12,0,step=-0.5)"])
def test_range_with_too_many_values_is_refused_before_they_are_listed(text: str) -> None:
    text = text.replace("10**12", str(10**12))
    with pytest.raises(SettingError, match=r"a would be [12],000,000,000,000 values, more than 1,000,000; take a"):
        jobs({"a": text}, sample=3)
    with pytest.raises(SettingError, match=rf"^{re.escape('a=' + text)} would be .* values, more than 1,000,000"):
        jobs({"b": 1}, line=f"a={text}")


def test_titles_choose_grids_and_unknown_ones_are_refused() -> None:
    three = grids({"_title": "one", "a": 1}, {"_title": "two", "a": 2}, {"_title": "one", "a": 3}, {"a": 4})
    assert [grid.combination(0) for grid in choose(three, ["one"])] == [("a=1",), ("a=3",)]
    assert [grid.combination(0) for grid in choose(three, "two")] == [("a=2",)]
    assert len(choose(three, None)) == 4
    with pytest.raises(SettingError, match="no grid is called 'tow'; known are one, two"):
        choose(three, ["one", "tow"])
    with pytest.raises(SettingError, match="no grid is called 'x'; no grid has a `_title`"):
        choose(grids({"a": 1}), ["x"])
    with pytest.raises(SettingError, match=r"titles=\[\] must be a list of titles, or null"):
        choose(three, [])


def test_sampling_leaves_pythons_own_generator_alone() -> None:
    before = random.getstate()
    jobs({"a": "range(0,100)"}, sample=3)
    assert random.getstate() == before


def test_shuffled_values_come_in_the_same_order_by_seed_and_leave_the_generator_alone() -> None:
    def shuffled(seed: int) -> list[int]:
        with shuffling(seed):
            return random.sample(range(100), 5)

    before = random.getstate()
    assert shuffled(3) == shuffled(3) != shuffled(4)
    assert random.getstate() == before


def test_small_part_of_an_endless_grid_is_sampled() -> None:
    found = jobs({"a": "range(0,100000)", "b": "range(0,100000)"}, sample=3)
    assert len(set(found)) == 3
    assert found == sorted(found, key=lambda job: [int(part.partition("=")[2]) for part in job.split()])


@pytest.mark.parametrize("value", [True, 0, "3", 2.0, None])
def test_number_that_is_not_whole_or_too_small_is_refused(value: Any) -> None:
    assert check_number("sample", 1, 1) == 1
    with pytest.raises(SettingError, match=r"^hydra.sweeper.sample must be a whole number, at least 1, but got "):
        check_number("sample", value, 1)
