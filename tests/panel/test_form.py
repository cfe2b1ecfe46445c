"""The form of a run, without a browser: what it is told, what that means, and what arrives meanwhile."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainctl.config.changelog import Changelog
from trainctl.config.controls import Key
from trainctl.config.keys import join
from trainctl.panel.data.run_view import RunRow, RunView
from trainctl.panel.widgets.form import OWN, TOO_LONG, Form, lines_of
from trainctl.panel.widgets.pending import MAX_SHOWN, PendingEdit
from trainctl.rundir.paths import RunDir
from trainctl.rundir.summary import summarize

KEYS = {
    "optim.lr": Key("float", min=0, max=1),
    "ema": Key("bool"),
    "kind": Key("str", choices=["cosine", "linear"]),
    "model.width": Key("int", locked="no <b>reason</b>"),
    "tag": Key("str"),
    "secret": Key("str", hidden=True),
}
VALUES: dict[str, Any] = {
    "optim.lr": 0.0005,
    "ema": True,
    "kind": "cosine",
    "model.width": 64,
    "tag": "1e-4",
    "secret": "x",
}


def view_of(tmp_path: Path, keys: dict[str, Key] | None = None, **values: Any) -> RunView:
    row = RunRow(dataclasses.replace(summarize(RunDir.at(tmp_path)), state="running"), None)
    return RunView(row, {**VALUES, **values}, KEYS if keys is None else keys, Changelog({}))


@pytest.fixture
def form(tmp_path: Path) -> Form:
    return Form(view_of(tmp_path), lambda: None, lambda: None)


def say(form: Form, **said: Any) -> None:
    """Say what a browser says; it is the messages themselves that anybody may send."""
    for callback in form.view._msg__callbacks:
        callback(SimpleNamespace(data=said))


def typed(form: Form, **texts: Any) -> None:
    say(form, serial=form.view.state["heard"] + 1, texts={key.replace("__", "."): text for key, text in texts.items()})


def line(form: Form, key: str) -> dict[str, Any]:
    found: dict[str, Any] = next(line for line in json.loads(form.view.lines) if line.get("key") == key)
    return found


def test_browser_gets_what_it_needs_of_each_key_and_nothing_of_hidden_ones(form: Form) -> None:
    assert [one["label"] for one in json.loads(form.view.lines)] == [
        "optim", "lr", "ema", "kind", "model", "width", "tag",
    ]  # fmt: skip
    assert line(form, "optim.lr") == {
        "depth": 1, "label": "lr", "key": "optim.lr", "text": "0.0005", "type": "float", "min": 0, "max": 1,
        "takes": "0 to 1",
    }  # fmt: skip
    assert line(form, "kind")["options"] == ["cosine", "linear"]
    assert line(form, "model.width")["locked"] == "locked: no <b>reason</b>"


def test_changes_are_listed_in_order_of_the_keys(form: Form) -> None:
    typed(form, tag="x", optim__lr="fast")
    wrong = PendingEdit("optim.lr", "0.0005", "fast", "the key takes a number (float)")
    assert form.changes() == [wrong, PendingEdit("tag", "1e-4", "x")]
    assert form.view.state["texts"]["optim.lr"] == {"text": "fast", "error": wrong.error, "same": False}
    typed(form, optim__lr="5e-4", tag=None)
    assert form.changes() == []
    assert form.view.state["texts"] == {"optim.lr": {"text": "5e-4", "error": None, "same": True}}


def test_text_that_is_typed_stays_and_what_the_run_has_is_told(form: Form, tmp_path: Path) -> None:
    typed(form, optim__lr="0.25")
    form.follow(view_of(tmp_path, **{"optim.lr": 0.125}))
    assert form.changes() == [PendingEdit("optim.lr", "0.125", "0.25")]
    assert form.view.changed == {"optim.lr": "0.125"}
    form.follow(view_of(tmp_path, **{"optim.lr": 0.25}))
    assert form.changes() == []
    form.follow(view_of(tmp_path))
    assert form.view.changed == {}


def test_only_what_has_changed_is_sent(form: Form, tmp_path: Path) -> None:
    sent: list[list[str]] = []
    form.view.param.watch(lambda *events: sent.append([event.name for event in events]), ["lines", "changed", "state"])
    form.follow(view_of(tmp_path))
    assert sent == []
    form.follow(view_of(tmp_path, tag="new"))
    assert sent == [["changed"]]


def test_form_lets_go_of_what_was_applied_but_not_of_what_was_typed_since(form: Form, tmp_path: Path) -> None:
    typed(form, optim__lr="1e-1", tag="new")
    asked = {change.key: change.new for change in form.changes()}
    typed(form, tag="newer")
    form.accept(view_of(tmp_path, **{"optim.lr": 0.1, "tag": "new"}), asked)
    assert form.changes() == [PendingEdit("tag", "new", "newer")]
    form.discard(view_of(tmp_path))
    assert form.changes() == []


def test_text_that_was_refused_comes_back_where_nothing_else_was_typed(form: Form) -> None:
    typed(form, tag="newer")
    form.give_back({"tag": "new", "optim.lr": "0.25", "gone": "1"})
    assert [(change.key, change.new) for change in form.changes()] == [("optim.lr", "0.25"), ("tag", "newer")]


@pytest.mark.parametrize(
    "said",
    [
        {"texts": {"model.width": "1"}}, {"texts": {"secret": "1"}}, {"texts": {"none": "1"}}, {"texts": {"tag": 1}},
        {"texts": {"tag": "x" * (2**20 + 1)}}, {"texts": ["tag"]}, {"texts": None}, {"serial": "1"}, {},
    ],
)  # fmt: skip
def test_what_a_bent_browser_says_is_passed_over(form: Form, said: dict[str, Any]) -> None:
    say(form, **said)
    assert form.changes() == []
    assert form.view.state["texts"] == {}


def test_nothing_is_heard_where_nothing_can_be_asked(tmp_path: Path) -> None:
    asked: list[str] = []
    form = Form(view_of(tmp_path), lambda: asked.append("change"), lambda: asked.append("apply"))
    typed(form, tag="kept")
    form.follow(view_of(tmp_path), may_ask=False)
    say(form, serial=9, texts={"tag": "x"}, apply=True)
    assert (form.changes(), form.view.state["is_open"], asked) == ([], False, ["change"])


def test_enter_applies_after_what_was_typed_is_heard(tmp_path: Path) -> None:
    seen: list[Any] = []
    form = Form(view_of(tmp_path), lambda: None, lambda: seen.append(form.changes()))
    say(form, serial=1, texts={"tag": "x"}, apply=True)
    assert seen == [[PendingEdit("tag", "1e-4", "x")]]


def test_entry_that_an_edit_has_added_gets_a_line_and_what_was_typed_stays(form: Form, tmp_path: Path) -> None:
    typed(form, tag="x")
    more = {**KEYS, "optim.momentum": Key("float")}
    form.follow(view_of(tmp_path, more, **{"optim.momentum": 0.9}))
    assert line(form, "optim.momentum")["text"] == "0.9"
    assert [change.key for change in form.changes()] == ["tag"]
    form.follow(view_of(tmp_path, {"ema": Key("bool")}))
    assert ([one["key"] for one in json.loads(form.view.lines)], form.changes()) == (["ema"], [])


def test_value_that_is_too_long_for_a_page_is_locked_there(tmp_path: Path) -> None:
    form = Form(view_of(tmp_path, tag="x" * (MAX_SHOWN + 1)), lambda: None, lambda: None)
    assert line(form, "tag")["locked"] == TOO_LONG
    typed(form, tag="short")
    assert form.changes() == []


def test_list_of_mappings_is_one_text(tmp_path: Path) -> None:
    value = [{"name": "a", "fraction": 0.5}]
    form = Form(view_of(tmp_path, {"datasets": Key("list")}, datasets=value), lambda: None, lambda: None)
    assert line(form, "datasets")["text"] == "[{name: a, fraction: 0.5}]"
    typed(form, datasets="[{name: a, fraction: 1}, {name: b}]")
    assert [change.error for change in form.changes()] == [None]


@given(st.lists(st.lists(st.sampled_from(["a", "b", OWN, "c.d"]), min_size=1, max_size=4).map(join), unique=True))
def test_each_key_has_one_line_below_the_groups_that_are_its_path(keys: list[str]) -> None:
    above: list[str] = []
    found = []
    for one in lines_of(dict.fromkeys(keys, Key("int")), {}):
        del above[one["depth"] :]
        assert len(above) == one["depth"]
        if "key" in one:
            found.append(one["key"])
            assert one["key"] == ".".join([*above, join([one["label"]])])
        else:
            above.append(one["label"])
    assert sorted(found) == sorted(keys)
