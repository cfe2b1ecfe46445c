"""What a text means for a key, the fields of an action, and the bar of pending edits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainctl.config.controls import Key
from trainctl.config.edit import parse_edit
from trainctl.panel.pages.theme import frame
from trainctl.panel.widgets.actions import BUTTON, OwnAction
from trainctl.panel.widgets.pending import PendingBar, PendingEdit, change_of, list_of, options_of, text_of

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


def told(action: OwnAction, **said: Any) -> None:
    """Say what a browser says; it is the messages themselves that anybody may send."""
    for callback in action.fields.view._msg__callbacks:
        callback(SimpleNamespace(data=said))


def made_action(asked: list[Any], **arguments: dict[str, Any]) -> OwnAction:
    action = OwnAction("sample", {"arguments": arguments}, lambda name, given: asked.append((name, given)))
    action.allow(True)
    return action


def test_action_can_be_asked_for_once_its_arguments_are_right() -> None:
    asked: list[Any] = []
    action = made_action(
        asked, n=Key("int").to_dict(), how={**Key("str", choices=["fast", "slow"]).to_dict(), "default": "slow"}
    )
    assert action.fields.shown(BUTTON)["disabled"]  # n has no default
    told(action, values={"n": "four"}, pressed=BUTTON)
    assert action.fields.shown("n")["error"] == "the key takes a whole number (int)"
    told(action, values={"n": "4", "how": "odd"}, pressed=BUTTON)
    told(action, values={"how": "fast"}, pressed=BUTTON)
    action.allow(False)
    told(action, pressed=BUTTON)
    assert asked == [("sample", {"n": "4"}), ("sample", {"n": "4", "how": "fast"})]


@pytest.mark.parametrize(
    "said", [None, 1, [], {"values": 3}, {"values": {"n": 4}}, {"values": {"x": "1"}}, {"pressed": ["n"]}]
)
def test_fields_take_nothing_else_from_a_browser(said: Any) -> None:
    asked: list[Any] = []
    action = made_action(asked, n=Key("int").to_dict(), big={**Key("bool").to_dict(), "default": True})
    for callback in action.fields.view._msg__callbacks:
        callback(SimpleNamespace(data=said))
    assert (action.fields.shown("n")["value"], action.fields.is_on("big"), asked) == ("", True, [])


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
        seen.append(tuple(bar.fields.shown(name)["disabled"] for name in ("apply", "discard")))
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
