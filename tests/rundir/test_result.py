from __future__ import annotations

import math
from collections import OrderedDict
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainctl.rundir.paths import RunDir
from trainctl.rundir.result import is_kept, read_result, write_result


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.at(tmp_path)


def kept(run: RunDir, value: Any) -> Any:
    write_result(run, value)
    assert is_kept(run)
    return read_result(run)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(value=VALUES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(50))
def test_plain_value_comes_back_as_it_was(run: RunDir, value: Any) -> None:
    again = kept(run, value)
    assert again == value
    assert repr(again) == repr(value)


def test_float_comes_back_bit_for_bit(run: RunDir) -> None:
    for value in (0.1 + 0.2, 1e-300, -0.0, math.inf, 5e-324):
        assert repr(kept(run, value)) == repr(value)
    assert math.isnan(kept(run, math.nan))


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array(0.25), 0.25),
        (np.array([0.25]), 0.25),
        ((1, np.int64(2)), [1, 2]),
        ({"loss": np.float64(0.1), "all": [np.int64(1)]}, {"loss": 0.1, "all": [1]}),
    ],
)
def test_numbers_of_numpy_are_kept_as_plain_numbers(run: RunDir, value: Any, plain: Any) -> None:
    again = kept(run, value)
    assert again == plain
    assert type(again) is type(plain)


class Colour(Enum):
    RED = 1


class Odd:
    def __repr__(self) -> str:
        return "<odd: " + "x" * 20_000 + ">"


@pytest.mark.parametrize(
    "value",
    [Odd(), object, Path("/x"), Colour.RED, np.zeros(3), {1, 2}, b"bytes", [Odd()], {"a": Odd()}, {(1, 2): 3},
     {True: 1}, OrderedDict(a=1), 1j, lambda: None],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_value_that_yaml_cannot_bring_back_is_only_described(run: RunDir, value: Any) -> None:
    write_result(run, value)
    assert not is_kept(run)
    assert read_result(run) is None
    assert f"type: {type(value).__qualname__}" in run.result.read_text()
    assert run.result.stat().st_size < 50_000


def test_missing_result_is_none_and_not_kept(run: RunDir) -> None:
    assert read_result(run) is None
    assert not is_kept(run)
    write_result(run, None)
    assert read_result(run) is None
    assert is_kept(run)


def test_value_that_contains_itself_is_only_described(run: RunDir) -> None:
    value: list[Any] = []
    value.append(value)
    write_result(run, value)
    assert not is_kept(run)


def test_value_whose_repr_fails_does_not_fail_the_run(run: RunDir) -> None:
    class Broken:
        def __repr__(self) -> str:
            raise ValueError("no repr")

    write_result(run, Broken())
    assert not is_kept(run)
    assert "Broken" in run.result.read_text()
