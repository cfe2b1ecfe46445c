from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from trainctl.config.controls import Key, keys_of
from trainctl.config.editor_sheet import changes, describe, editable, write
from trainctl.errors import EditError

VALUES: dict[Any, Any] = {
    "optim": {"lr": 0.1, "betas": [0.9, {"a": "x\ny"}], "name": "sgd"}, "end": "${optim.lr}", "note": "1e-4", "7": {},
    "secret": 1, "model": {"depth": 3}, "odd key": {"a.b": None},
}  # fmt: skip
CONTROLS = {
    "optim.lr": {"min": 1e-6, "max": 1, "help": "step size"}, "optim.name": {"when": "restart"},
    "secret": {"hidden": True}, "model.*": "!",
}  # fmt: skip


@pytest.fixture
def keys() -> dict[str, Key]:
    return keys_of(OmegaConf.create(copy.deepcopy(VALUES)), CONTROLS, editable=True)


def test_sheet_has_what_can_be_edited_with_what_it_takes(keys: dict[str, Key]) -> None:
    found = editable(VALUES, keys)
    assert write(found, keys, "run a\n\nb") == (
        "# run a\n#\n# b\n"
        "optim:\n"
        "  # float, 1e-06 to 1: step size\n"
        "  lr: 0.1\n"
        "  # list\n"
        "  betas:\n"
        "  - 0.9\n"
        "  - {a: 'x\n\n      y'}\n"
        "# float\n"
        "end: ${optim.lr}\n"
        "# str\n"
        "note: '1e-4'\n"
        "# dict\n"
        "'7': {}\n"
        "odd key:\n"
        "  # any or null\n"
        "  a.b: null\n"
    )


def test_unchanged_or_emptied_text_changes_nothing(keys: dict[str, Key]) -> None:
    found = editable(VALUES, keys)
    text = write(found, keys, "head")
    assert changes(found, text, keys) == {}
    assert changes(found, "", keys) == changes(found, "# only\n", keys) == {}


def test_changed_values_come_by_dotted_key_and_whole(keys: dict[str, Key]) -> None:
    found = editable(VALUES, keys)
    text = "optim: {lr: 1, betas: [0.9]}\n7: {new: 1}\nodd key: {a.b: 2}\nnote: '1e-4'\n"
    assert changes(found, text, keys) == {"optim.lr": 1, "optim.betas": [0.9], "7": {"new": 1}, r"odd key.a\.b": 2}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("optim: [", "^the text cannot be read: it is not YAML"),
        ("- 1", "^the text must be keys with their values, but it is list$"),
        ("optim: {rl: 1}", r"^optim\.rl: there is no such key in the text that was opened$"),
        ("model: {depth: 4}", "^model: there is no such key"),
        ("optim: 3", "^optim holds keys, and cannot be given the value 3$"),
    ],
)
def test_text_that_says_something_else_is_refused(keys: dict[str, Key], text: str, reason: str) -> None:
    with pytest.raises(EditError, match=reason):
        changes(editable(VALUES, keys), text, keys)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda text: text != "hydra")
SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUE = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))


@given(st.dictionaries(TEXT, st.dictionaries(TEXT, VALUE, max_size=3) | VALUE, max_size=4))
def test_any_config_is_unchanged_when_nobody_touches_it(values: dict[Any, Any]) -> None:
    keys = {key: Key("any", help=key) for key in leaves(values)}
    assert changes(values, write(values, keys, "head"), keys) == {}


def leaves(values: dict[Any, Any]) -> list[str]:
    from trainctl.config.keys import leaves as flattened

    return list(flattened(values))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (Key("int", optional=True, min=1), "int or null, at least 1"),
        (Key("float", max=2.5), "float, at most 2.5"),
        (Key("str", choices=["a", "1"], when="epoch"), "str, one of a, '1', from the next epoch on"),
        (Key("any", help="two\nlines \x1b[31m"), "any: two lines [31m"),
    ],
)
def test_key_is_described_on_one_line(key: Key, text: str) -> None:
    assert describe(key) == text
