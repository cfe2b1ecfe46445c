"""Fields and the form: what was typed, what it means, and what arrives meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainctl.config.changelog import Changelog
from trainctl.config.controls import Key
from trainctl.config.edit import parse_edit
from trainctl.panel.data.run_view import RunRow, RunView
from trainctl.panel.pages.theme import frame
from trainctl.panel.widgets.field import Field, PendingEdit, text_of
from trainctl.panel.widgets.form import Form
from trainctl.panel.widgets.pending import PendingBar, list_of
from trainctl.rundir.paths import RunDir
from trainctl.rundir.summary import summarize

KEYS = {
    "optim.lr": Key("float", min=0, max=1),
    "optim.betas": Key("list"),
    "ema": Key("bool"),
    "maybe": Key("bool", optional=True),
    "kind": Key("str", choices=["cosine", "linear"]),
    "bits": Key("int", choices=[8, 16]),
    "model.width": Key("int", locked="the weights have this shape"),
    "tag": Key("str"),
    "secret": Key("str", hidden=True),
}
VALUES: dict[str, Any] = {
    "optim.lr": 0.0005,
    "optim.betas": [0.9, 0.999],
    "ema": True,
    "maybe": None,
    "kind": "cosine",
    "bits": 8,
    "model.width": 64,
    "tag": "1e-4",
    "secret": "x",
}


def field_of(key: str, *, live: bool = True) -> Field:
    return Field(key, KEYS, VALUES[key], lambda: None, live=live)


def type_into(field: Field, text: str) -> None:
    """Do what the browser does with each key that is pressed."""
    from panel.util import edit_readonly

    with edit_readonly(field.widget):
        field.widget.value_input = text


def view_of(tmp_path: Path, **values: Any) -> RunView:
    row = RunRow(summarize(RunDir.at(tmp_path)), None)
    return RunView(row, {**VALUES, **values}, KEYS, Changelog({}))


def test_field_without_change_has_none() -> None:
    assert [field_of(key).change() for key in KEYS] == [None] * len(KEYS)


def test_field_reads_text_by_the_type_of_its_key() -> None:
    field = field_of("optim.lr")
    type_into(field, "5e-4")
    assert field.change() is None  # another spelling of the same number
    type_into(field, "2.5e-4")
    assert field.change() == PendingEdit("optim.lr", "0.0005", "2.5e-4")
    assert field.widget.helper_text == "now 0.0005"


@pytest.mark.parametrize(
    ("key", "text", "reason"),
    [
        ("optim.lr", "fast", "the key takes a number (float)"),
        ("optim.lr", "nan", "the key takes a finite number (float)"),
        ("optim.lr", "-1", "the least that is allowed is 0"),
        ("optim.lr", "", "the key takes a number (float)"),
        ("optim.betas", "[1,", "not a list, such as [1, 2]"),
        ("tag", "${oc.env:HOME}", "interpolations (${...}) are not accepted from outside; give the value itself"),
    ],
)
def test_field_says_what_is_wrong(key: str, text: str, reason: str) -> None:
    field = field_of(key)
    type_into(field, text)
    change = field.change()
    assert change is not None
    assert change.error == reason
    assert (field.widget.error_state, field.widget.helper_text) == (True, reason)


def test_field_keeps_what_is_typed_and_shows_what_the_run_has() -> None:
    field = field_of("optim.lr")
    type_into(field, "0.25")
    field.follow(0.125)
    assert field.text == "0.25"
    assert field.widget.helper_text == "now 0.125"
    field.follow(0.25)
    assert field.change() is None
    assert field.widget.helper_text == ""


def test_field_follows_when_nothing_is_typed() -> None:
    for key, value, text in [("optim.lr", 0.1, "0.1"), ("ema", False, "false"), ("kind", "linear", "linear")]:
        field = field_of(key)
        field.follow(value)
        assert (field.text, field.change()) == (text, None)


def test_field_of_several_lines_keeps_them() -> None:
    keys = {"text": Key("str")}
    field = Field("text", keys, "one\ntwo", lambda: None, live=True)
    assert field.change() is None
    type_into(field, "one\n2")
    assert field.change() == PendingEdit("text", "one\ntwo", "one\n2")
    field.follow("one\ntwo", forget=True)
    assert field.text == "one\ntwo"


def test_field_forgets_text_that_was_not_left_yet() -> None:
    field = field_of("tag")
    type_into(field, "typed")
    field.follow("1e-4", forget=True)
    assert (field.text, field.widget.value, field.change()) == ("1e-4", "1e-4", None)


def test_fields_of_a_run_that_is_over_are_disabled() -> None:
    assert not field_of("tag").widget.disabled
    ended = field_of("tag", live=False)
    assert ended.widget.disabled
    ended.allow(True)
    assert not ended.widget.disabled


def test_field_offers_choices_and_the_current_value() -> None:
    assert field_of("kind").widget.options == ["cosine", "linear"]
    assert field_of("maybe").widget.options == ["true", "false", "null"]
    assert field_of("bits").widget.options == ["8", "16"]
    odd = Field("kind", KEYS, "other", lambda: None, live=True)
    assert odd.widget.options == ["other", "cosine", "linear"]
    odd.widget.value = "linear"
    assert odd.change() == PendingEdit("kind", "other", "linear")


@given(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.booleans(), st.text(max_size=50)))
def test_text_of_a_value_is_read_back_as_that_value(value: Any) -> None:
    kind: Any = {float: "float", int: "int", bool: "bool", str: "str"}[type(value)]
    if isinstance(value, str) and ("${" in value or value == "???"):
        return  # values that no edit may have
    key = Key(kind)
    assert repr(parse_edit("key", text_of(value, key), {"key": key})) == repr(value)


def test_form_groups_by_section_hides_hidden_keys_and_lists_changes(tmp_path: Path) -> None:
    form = Form(view_of(tmp_path), lambda: None)
    assert "secret" not in form.fields
    assert [card.title for card in form.view if hasattr(card, "title")] == ["general", "optim", "model"]
    for field in form.fields.values():
        field.allow(True)
    type_into(form.fields["optim.lr"], "0.1")
    form.fields["ema"].widget.value = False
    assert form.changes() == [PendingEdit("optim.lr", "0.0005", "0.1"), PendingEdit("ema", "true", "false")]


def test_form_lets_go_of_what_was_applied_but_not_of_what_was_typed_since(tmp_path: Path) -> None:
    form = Form(view_of(tmp_path), lambda: None)
    for field in form.fields.values():
        field.allow(True)
    type_into(form.fields["optim.lr"], "1e-1")
    type_into(form.fields["tag"], "new")
    asked = {change.key: change.new for change in form.changes()}
    type_into(form.fields["tag"], "newer")
    form.accept(view_of(tmp_path, **{"optim.lr": 0.1, "tag": "new"}), asked)
    assert form.changes() == [PendingEdit("tag", "new", "newer")]
    assert form.fields["optim.lr"].text == "0.1"


def test_section_named_by_html_is_only_text(tmp_path: Path) -> None:
    name = "<img src=x>.lr"
    form = Form(RunView(view_of(tmp_path).row, {name: 1.0}, {name: Key("float")}), lambda: None)
    assert [card.title for card in form.view if hasattr(card, "title")] == ["&lt;img src=x&gt;"]


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
