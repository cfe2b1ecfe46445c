from __future__ import annotations

import pytest

from trainctl.config.drift import check, differing_keys
from trainctl.errors import DriftError


def test_drift_sees_types_and_absent_keys_and_passes_over_our_own() -> None:
    recorded = {"a": 1, "b": [1, {"x": 1}], "c": float("nan"), "d": 1, "gone": 0, "trainctl": {"replay": None}}
    current = {"a": 1.0, "b": [1, {"x": True}], "c": float("nan"), "d": 1, "new": 0, "trainctl": {"replay": "x"}}
    assert differing_keys(recorded, current) == ["a", "b", "gone", "new"]
    assert differing_keys(recorded, current, ignore={"b", "gone"}) == ["a", "new"]


def test_drift_is_told_with_both_values_and_what_to_do() -> None:
    with pytest.raises(DriftError) as refused:  # the whole text is compared
        check({"lr": 0.1}, {"lr": 1e-4, "n": [1]}, source="run/x", allowed="do y")
    assert str(refused.value) == (
        "the config differs from the one recorded in run/x "
        "(lr: recorded 0.1, now 0.0001; n: recorded absent, now [1]); do y"
    )


def test_drift_lists_at_most_twenty_keys() -> None:
    with pytest.raises(DriftError, match="and 5 more"):
        check({}, {f"k{number:02}": number for number in range(25)}, source="x", allowed="y")


def test_keys_that_may_differ_are_no_drift() -> None:
    check({"lr": 0.1, "n": 1}, {"lr": 0.2, "n": 1}, source="x", allowed="y", ignore={"lr"})


def test_equal_configs_have_no_drift() -> None:
    check({"a": {"b": [1, None, "x"]}}, {"a": {"b": [1, None, "x"]}}, source="x", allowed="y")
