"""Overrides are read as Hydra's own parser reads them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trainctl.launch import overrides
from trainctl.launch.overrides import parse_overrides

KEYS = st.from_regex(r"\A(\+|\+\+|~)?[a-zA-Z_$0-9-]{1,4}([./@:][a-zA-Z_0-9$-]{0,4}){0,2}\Z")
VALUES = st.one_of(
    st.from_regex(r"\A[+-]?[0-9_]{1,5}(\.[0-9]{0,3})?([eE][+-]?[0-9]{0,2})?\Z"),
    st.from_regex(r"\A[a-zA-Z0-9_./ -]{0,8}\Z"),
    st.sampled_from(["true", "False", "NULL", "nan", "-inf", "Inf", "nano", "1,2", "[1]", "{a:1}", "range(3)", "'a'"]),
    st.text(max_size=6),
    st.integers().map(str),
    st.floats().map(repr),
)
lines = st.builds("{}={}".format, KEYS, VALUES)


def outcome(parse: Any, line: str) -> Any:
    try:
        (found,) = parse([line])
    except Exception as error:  # noqa: BLE001  # whatever Hydra raises is to be raised just so
        return type(error), str(error)
    value = found._value
    shown = "nan" if isinstance(value, float) and math.isnan(value) else repr(value)
    return {**vars(found), "_value": (type(value), shown)}


@settings(max_examples=500, deadline=None)
@given(lines)
@example("lr=1e-4")
@example("lr=01")
@example("\u017fa=1")
@example("K=\u212a")
@example("a=1\n")
@example("optim/kind=adam")
@example("hydra.job.num=1")
@example("x=" + "9" * 30)
@example("~x")
@example("x")
def test_override_is_what_hydra_makes_of_it(line: str) -> None:
    assert outcome(parse_overrides, line) == outcome(OverridesParser.create().parse_overrides, line)


@pytest.mark.parametrize("line", ["x=3", "lr=0.1", "lr=-1e-4", "a.b.c=word", "db=my-sql", "group/sub=one"])
def test_plain_override_needs_no_parser(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overrides, "_parser", None)
    (found,) = parse_overrides([line])
    assert found.input_line == line
