"""What a text means for a key, the fields of an action, and the bar of pending edits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainctl.config.controls import Key
from trainctl.config.edit import parse_edit
from trainctl.panel.pages.theme import frame
from trainctl.panel.widgets.field import Field, PendingEdit, change_of, options_of, set_text, text_of
from trainctl.panel.widgets.pending import PendingBar, list_of

KEYS = {
    "optim.lr": Key("float", min=0, max=1),
    "optim.betas": Key("list"),
    "ema": Key("bool"),
    "maybe": Key("bool", optional=True),
    "kind": Key("str", choices=["cosine", "linear"]),
    "bits": Key("int", choices=[8, 16]),
    "tag": Key("str"),
}
VALUES: dict[str, Any] = {
    "optim.lr": 0.0005,
    "optim.betas": [0.9, 0.999],
    "ema": True,
    "maybe": None,
    "kind": "cosine",
    "bits": 8,
    "tag": "1e-4",
}


def change(key: str, text: str) -> PendingEdit | None:
    return change_of(key, text, VALUES[key], KEYS)


def test_text_of_what_the_run_has_is_no_change() -> None:
    assert [change(key, text_of(value, KEYS[key])) for key, value in VALUES.items()] == [None] * len(KEYS)
    assert change("optim.lr", "5e-4") is None  # another spelling of the same number


def test_text_is_read_by_the_type_of_its_key() -> None:
    assert change("optim.lr", "2.5e-4") == PendingEdit("optim.lr", "0.0005", "2.5e-4")
    assert change("tag", "0.0001") == PendingEdit("tag", "1e-4", "0.0001")
    assert change_of("tag", "one\n2", "one\ntwo", KEYS) == PendingEdit("tag", "one\ntwo", "one\n2")


@pytest.mark.parametrize(
    ("key", "text", "reason"),
    [
        ("optim.lr", "fast", "the key takes a number (float)"),
        ("optim.lr", "nan", "the key takes a finite number (float)"),
        ("optim.lr", "-1", "the minimum is 0"),
        ("optim.lr", "", "the key takes a number (float)"),
        ("optim.betas", "[1,", "not a list, such as [1, 2]"),
        ("tag", "${oc.env:HOME}", "interpolations (${...}) are not accepted from outside; give the value itself"),
    ],
)
def test_change_says_what_is_wrong(key: str, text: str, reason: str) -> None:
    found = change(key, text)
    assert found is not None
    assert found.error == reason


def test_options_are_those_of_a_choice_and_of_a_switch_that_may_be_null() -> None:
    found = {key: options_of(spec) for key, spec in KEYS.items()}
    assert {key: options for key, options in found.items() if options is not None} == {
        "maybe": ["true", "false", "null"],
        "kind": ["cosine", "linear"],
        "bits": ["8", "16"],
    }


def field_of(key: str, value: Any, *, is_blank: bool = False) -> Field:
    return Field(key, KEYS, value, lambda: None, live=True, is_blank=is_blank)


def test_field_of_an_action_says_what_is_wrong_and_is_blank_without_a_default() -> None:
    field = field_of("optim.lr", None, is_blank=True)
    assert (field.shown, field.view.error_state) == ("", False)
    set_text(field.view, "fast")
    assert (field.view.error_state, field.view.helper_text) == (True, "the key takes a number (float)")
    set_text(field.view, "0.5")
    assert (field.text, field.view.error_state, field.view.helper_text) == ("0.5", False, "")


def test_field_of_an_action_offers_choices_and_is_closed_with_its_run() -> None:
    assert field_of("kind", "other").view.options == ["other", "cosine", "linear"]
    field = field_of("ema", True)
    field.view.value = False
    assert field.text == "false"
    field.allow(False)
    assert field.view.disabled


@given(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.booleans(), st.text(max_size=50)))
def test_text_of_a_value_is_read_back_as_that_value(value: Any) -> None:
    kind: Any = {float: "float", int: "int", bool: "bool", str: "str"}[type(value)]
    if isinstance(value, str) and ("${" in value or value == "???"):
        return  # values that no edit may have
    key = Key(kind)
    assert repr(parse_edit("key", text_of(value, key), {"key": key})) == repr(value)


def test_bar_opens_apply_only_for_right_changes_that_are_not_waited_for() -> None:
    bar = PendingBar(lambda: None, lambda: None)
    right, wrong = PendingEdit("a", "1", "2"), PendingEdit("b", "1", "x", "no")
    seen = []
    for changes, waiting in [([], False), ([right], False), ([right, wrong], False), ([right], True)]:
        bar.show(changes)
        bar.answer("", busy=waiting)
        seen.append((bar._apply.disabled, bar._discard.disabled))
    assert seen == [(True, True), (False, False), (True, False), (True, False)]


def test_bar_escapes_keys_and_values() -> None:
    text = list_of([PendingEdit("<a>", "<b>", "<c>"), PendingEdit("k", "o", "n", "<d>")])
    assert not {"<a>", "<c>", "<d>"} & set(text.replace("<b></b>", "").split())
    assert "&lt;a&gt;" in text
    assert "&lt;c&gt;" in text
    assert "&lt;d&gt;" in text


def test_page_is_not_bound_to_the_busy_state_of_the_whole_process() -> None:
    from panel.io.state import state
    from panel.util import edit_readonly

    page = frame("title", [])
    with edit_readonly(state):
        state.busy = True
        try:
            assert page.busy is False
        finally:
            state.busy = False
