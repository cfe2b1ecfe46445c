from __future__ import annotations

import pytest

from trainctl.rundir.fields import Fields, shown, unix_time


def test_field_of_a_wrong_type_is_none_and_a_problem() -> None:
    problems: list[str] = []
    record = {"step": "many", "total": 10**400, "rate": True, "host": ["a"], "slot": 0, "ended": "2026-01-01T00:00:00"}
    said = Fields(record, "status.yaml", problems)
    assert (said.whole("step"), said.whole("total"), said.number("rate"), said.text("host")) == (None,) * 4
    assert (said.text("slot"), said.whole("absent"), said.moment("absent")) == ("0", None, None)
    assert said.moment("ended") is not None
    assert [problem.partition(" is not ")[2] for problem in problems] == [
        "a whole number",
        "a whole number",
        "a number",
        "a text",
    ]
    assert problems[0] == "status.yaml: step 'many' is not a whole number"


@pytest.mark.parametrize("value", [-1.0, 1e300, float("nan"), float("inf"), 10**400, "now", None, True])
def test_time_that_no_calendar_has_is_none(value: object) -> None:
    assert unix_time(value) is None


def test_foreign_value_is_shown_on_one_short_line() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, "x" * 10**6, "a\x1b[2J\n" * 50, 10**400):
        assert len(shown(value)) <= 60
        assert shown(value).isprintable()
    while deep:
        deep = deep[0]  # type: ignore[assignment]  # taken apart one by one: to free it at once would recurse
