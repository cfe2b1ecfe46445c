from __future__ import annotations

from trainctl.config.values import differences, differing_keys, is_same, tell_drift


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


def test_drift_is_cut_to_one_line_a_key() -> None:
    twenty = {f"k{number:02}": 0 for number in range(20)}
    assert "more" not in tell_drift({}, twenty, sorted(twenty))
    assert tell_drift({"a": "x" * 60}, {"a": "y" * 61}, ["a"]) == f"a: recorded {'x' * 60}, now {'y' * 60}…"


def test_null_and_a_key_that_is_not_there_are_two_values() -> None:
    assert differing_keys({"a": None}, {}) == differing_keys({}, {"a": None}) == ["a"]
    assert not is_same(float("nan"), 1.0)
    assert list(differences("a", {"x": 1}, 3)) == [("a.x", 1, None)]
