from __future__ import annotations

from trainctl.config.values import differing_keys, tell_drift


def test_drift_sees_types_and_absent_keys_and_passes_over_our_own() -> None:
    recorded = {"a": 1, "b": [1, {"x": 1}], "c": float("nan"), "d": 1, "gone": 0, "trainctl": {"replay": None}}
    current = {"a": 1.0, "b": [1, {"x": True}], "c": float("nan"), "d": 1, "new": 0, "trainctl": {"replay": "x"}}
    assert differing_keys(recorded, current) == ["a", "b", "gone", "new"]
    assert differing_keys(recorded, current, ignore={"b", "gone"}) == ["a", "new"]
    assert differing_keys({"a": {"b": [1, None, "x"]}}, {"a": {"b": [1, None, "x"]}}) == []


def test_drift_is_told_with_both_values_of_at_most_twenty_keys() -> None:
    now = {f"k{number:02}": number for number in range(25)}
    told = tell_drift({"k00": 0.1}, now, sorted(now)).split("; ")
    assert told[:2] == ["k00: recorded 0.1, now 0", "k01: recorded absent, now 1"]
    assert (len(told), told[-1]) == (21, "and 5 more")
