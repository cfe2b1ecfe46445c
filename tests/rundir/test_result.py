from __future__ import annotations

import math
import sys
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
from trainctl.rundir.result import read_result, stored_result, write_result

NOT_KEPT = "its return value could not be stored, so None is given back"


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.at(tmp_path)


def kept(run: RunDir, value: Any) -> Any:
    write_result(run, value)
    stored = stored_result(run)
    assert stored.loss == ""
    return stored.value


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
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float16(np.nan), math.nan),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), True),
        (np.array(0.25), 0.25),
        (np.array([0.25]), 0.25),
        (np.array([[1, 2], [3, 4]], dtype=np.int8), [[1, 2], [3, 4]]),
        (np.zeros((2, 0), dtype=bool), [[], []]),
        ((1, np.int64(2)), [1, 2]),
        ([(), ((1,), [2])], [[], [[1], [2]]]),
        ({"loss": np.float64(0.1), "all": [np.int64(1)], 3: {"a.b": (1,)}}, {"loss": 0.1, "all": [1], 3: {"a.b": [1]}}),
    ],
    ids=repr,
)
def test_tuples_numbers_and_arrays_come_back_with_their_types_and_are_written_plainly(
    run: RunDir, value: Any, plain: Any
) -> None:
    again = kept(run, value)
    assert type(again) is type(value)
    assert repr(again) == repr(value)
    assert getattr(again, "dtype", None) == getattr(value, "dtype", None)
    assert getattr(again, "shape", None) == getattr(value, "shape", None)
    assert repr(read_result(run)) == repr(plain)


class Loss:
    def item(self) -> float:
        return 0.5

    shape = ()


def test_type_that_is_not_known_is_named_and_its_number_kept(run: RunDir) -> None:
    write_result(run, {"loss": Loss(), "pair": (1, 2)})
    assert stored_result(run).value == {"loss": 0.5, "pair": (1, 2)}
    expected = f"its return value is given back as plain Python, since {__name__}.Loss cannot be restored"
    assert stored_result(run).loss == expected


def test_tensor_comes_back_as_one_where_the_program_has_loaded_torch_else_as_numbers(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    for value in (torch.tensor(0.5), torch.tensor([[1.5], [2.5]], dtype=torch.bfloat16), torch.arange(3)):
        assert repr(kept(run, value)) == repr(value)
    write_result(run, torch.ones(2))
    monkeypatch.delitem(sys.modules, "torch")
    stored = stored_result(run)
    assert stored.value == [1.0, 1.0]
    assert stored.loss.endswith("since torch.Tensor cannot be restored")


def test_very_many_numbers_of_numpy_come_back_as_plain_ones(run: RunDir) -> None:
    write_result(run, [np.float32(1)] * 10_001)
    stored = stored_result(run)
    assert stored.value == [1.0] * 10_001
    assert stored.loss.endswith("since numpy.generic and other types cannot be restored")


@pytest.mark.parametrize(
    "types",
    [
        "7",
        "[7, {at: 1, type: tuple}, {at: [[]], type: tuple}]",
        "[{at: [], type: numpy.ndarray, dtype: object, shape: []}]",
        "[{at: [], type: numpy.ndarray, dtype: float32, shape: [99999999, 99999999]}]",
        "[{at: [], type: numpy.ndarray, dtype: int8, shape: text}]",
        "[{at: [], type: torch.Tensor, dtype: uint16, shape: []}]",
        "[{at: [], type: numpy.generic, dtype: int8}]",
        "[{at: [], type: 'os.system'}]",
        "[{at: [], type: [tuple]}]",
        "[{at: [a], type: tuple}]",
    ],
)
def test_types_that_no_run_has_written_change_nothing(run: RunDir, types: str) -> None:
    run.result.write_text(f"value: {{a: [300, x]}}\ntypes: {types}\n")
    stored = stored_result(run)
    assert stored.value in ({"a": [300, "x"]}, {"a": (300, "x")})


class Colour(Enum):
    RED = 1


class Odd:
    def __repr__(self) -> str:
        return "<odd: " + "x" * 20_000 + ">"


@pytest.mark.parametrize(
    "value",
    [Odd(), object, Path("/x"), Colour.RED, np.zeros(10_001), np.array([None, 1]), {1, 2}, b"bytes", [Odd()],
     {"a": Odd()}, {(1, 2): 3}, {True: 1}, OrderedDict(a=1), 1j, lambda: None],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_value_that_yaml_cannot_bring_back_is_only_described(run: RunDir, value: Any) -> None:
    write_result(run, value)
    assert stored_result(run).loss == NOT_KEPT
    assert read_result(run) is None
    assert f"type: {type(value).__qualname__}" in run.result.read_text()
    assert run.result.stat().st_size < 50_000


def test_missing_result_is_none_and_not_kept(run: RunDir) -> None:
    assert read_result(run) is None
    assert stored_result(run).loss == NOT_KEPT
    write_result(run, None)
    assert read_result(run) is None
    assert stored_result(run).loss == ""


def test_value_that_contains_itself_is_only_described(run: RunDir) -> None:
    value: list[Any] = []
    value.append(value)
    write_result(run, value)
    assert stored_result(run).loss == NOT_KEPT


def test_value_whose_repr_fails_does_not_fail_the_run(run: RunDir) -> None:
    class Broken:
        def __repr__(self) -> str:
            raise ValueError("no repr")

    write_result(run, Broken())
    assert stored_result(run).loss == NOT_KEPT
    assert "Broken" in run.result.read_text()
