"""The form of a large config: what it builds is bounded, whatever the number of keys and however they are grouped."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainctl.config.changelog import Changelog
from trainctl.config.controls import Key
from trainctl.config.keys import join
from trainctl.panel.data.run_view import RunRow, RunView
from trainctl.panel.widgets.field import PendingEdit, set_text
from trainctl.panel.widgets.form import Form
from trainctl.panel.widgets.key_groups import FIELDS, MAX_SECTIONS, OWN, grouped
from trainctl.panel.widgets.section import MAX_TEXTS, text_cell
from trainctl.rundir.paths import RunDir
from trainctl.rundir.summary import summarize

MANY = {
    "deep": [f"group_{i // 50}.layers.layer_{i % 50 // 2}.{'w' if i % 2 else 'v'}" for i in range(2000)],
    "flat": [f"x{i}" for i in range(2000)],
    "one section": [f"weights.x{i}" for i in range(2000)],
    "a section each": [f"layer_{i}.w" for i in range(2000)],
}


def view_of(tmp_path: Path, keys: list[str], key: Key | None = None, value: Any = 0.5) -> RunView:
    row = RunRow(dataclasses.replace(summarize(RunDir.at(tmp_path)), state="running"), None)
    return RunView(row, dict.fromkeys(keys, value), dict.fromkeys(keys, key or Key("float")), Changelog({}))


def form_of(view: RunView) -> Form:
    return Form(view, lambda: None)


def models(form: Form) -> int:
    return len(form.view.get_root().references())


def filter_by(form: Form, text: str) -> None:
    set_text(form._filter, text)
    form.look()
    form.look()


@pytest.mark.parametrize("keys", MANY.values(), ids=MANY)
def test_form_builds_no_more_for_2000_keys(tmp_path: Path, keys: list[str]) -> None:
    form = form_of(view_of(tmp_path, keys))
    for text in (None, "w", "x1", "layer_1", ""):
        if text is not None:
            filter_by(form, text)
        assert len(form.fields) <= FIELDS, text
        assert models(form) < 1000, text


@pytest.mark.parametrize("keys", MANY.values(), ids=MANY)
def test_locked_keys_are_text(tmp_path: Path, keys: list[str]) -> None:
    form = form_of(view_of(tmp_path, keys, Key("float", locked="no <b>reason</b>")))
    filter_by(form, "1")
    assert form.fields == {}
    assert models(form) < 1000
    cell = text_cell("lr", "<i>", Key("str", locked="no <b>reason</b>"))
    assert 'title="locked: no &lt;b&gt;reason&lt;/b&gt;"' in cell
    assert "&lt;i&gt;" in cell


def test_section_that_is_opened_has_fields_for_some_keys_and_texts_for_others(tmp_path: Path) -> None:
    form = form_of(view_of(tmp_path, [*MANY["one section"], "seed"]))
    general, weights = form._sections
    assert (list(form.fields), weights.card.objects) == (["seed"], [])
    weights.card.collapsed = False
    assert len(form.fields) == 1 + FIELDS
    _, more, listed = weights.card.objects
    assert listed.object.count("0.5</div>") == MAX_TEXTS
    assert f"and {2000 - FIELDS - MAX_TEXTS:,} more" in listed.object
    more.clicks += 1
    assert len(form.fields) == 1 + 2 * FIELDS
    weights.card.collapsed = True
    assert (list(form.fields), weights.card.objects, general.is_open) == (["seed"], [], True)


def test_edit_stays_where_its_field_is_out_of_sight(tmp_path: Path) -> None:
    view = view_of(tmp_path, MANY["deep"])
    form = form_of(view)
    filter_by(form, "group_7.layers.layer_3.w")
    key = "group_7.layers.layer_3.w"
    form.fields[key].type("0.25")
    filter_by(form, "")
    assert form.changes() == [PendingEdit(key, "0.5", "0.25")]
    form.follow(view_of(tmp_path, MANY["deep"], value=0.75))
    assert form.changes() == [PendingEdit(key, "0.75", "0.25")]
    form.discard(view)
    assert form.changes() == []


def test_text_that_was_refused_comes_back_though_its_section_was_closed(tmp_path: Path) -> None:
    form = form_of(view_of(tmp_path, MANY["deep"]))
    key = "group_7.layers.layer_3.w"
    form.give_back({key: "0.25"})
    assert form.changes() == [PendingEdit(key, "0.5", "0.25")]
    assert [section.title for section in form._sections if section.is_open] == []


def test_filter_gives_back_what_was_open_before_it(tmp_path: Path) -> None:
    form = form_of(view_of(tmp_path, MANY["deep"]))
    section = form._sections[5]
    section.card.collapsed = False
    filter_by(form, "group_30")
    filter_by(form, "group_31")
    assert [one.title for one in form._sections if one.card.visible] == ["group_31.layers"]
    filter_by(form, "")
    assert [one for one in form._sections if one.is_open] == [section]
    assert all(one.card.visible for one in form._sections)


def test_filter_waits_until_nothing_more_is_typed(tmp_path: Path) -> None:
    form = form_of(view_of(tmp_path, MANY["deep"]))
    for text in ("group_3", "group_30", "group_30 w"):
        set_text(form._filter, text)
        form.look()
        assert form.fields == {}
    form.look()
    assert len(form.fields) == 25


def test_section_opens_though_another_attempt_has_other_keys(tmp_path: Path) -> None:
    form = form_of(view_of(tmp_path, MANY["deep"]))
    form.follow(view_of(tmp_path, ["seed"]))
    assert list(form.fields) == ["seed"]
    form.follow(view_of(tmp_path, MANY["deep"]))
    form._sections[5].card.collapsed = False
    assert len(form.fields) == FIELDS


def test_texts_follow_the_run(tmp_path: Path) -> None:
    form = form_of(view_of(tmp_path, MANY["one section"]))
    form.follow(view_of(tmp_path, MANY["one section"], value=0.125))
    assert form._sections[0].card.objects[2].object.count("0.125</div>") == MAX_TEXTS


@given(st.lists(st.lists(st.sampled_from(["a", "b", OWN, "c.d"]), min_size=1, max_size=4).map(join), unique=True))
def test_groups_hold_each_key_once_with_the_rest_of_its_name(keys: list[str]) -> None:
    groups = grouped(keys)
    assert sorted(key for group in groups for key in group.labels) == sorted(keys)
    assert all(group.labels for group in groups)


@pytest.mark.parametrize("keys", MANY.values(), ids=MANY)
def test_groups_are_not_too_many(keys: list[str]) -> None:
    assert len(grouped([*keys, "trainctl.seed"])) <= MAX_SECTIONS + 1


def test_entry_that_an_edit_has_added_gets_a_field_and_what_was_typed_stays(tmp_path: Path) -> None:
    before = view_of(tmp_path, ["opt.lr", "opt.wd", "model.depth"])
    form = form_of(before)
    form._section_of["opt.wd"].field("opt.wd").type("0.25")
    after = view_of(tmp_path, ["opt.lr", "opt.wd", "model.depth", "opt.momentum"])
    form.follow(after)
    assert list(form.fields) == ["opt.lr", "opt.wd", "model.depth", "opt.momentum"]
    assert [(change.key, change.new) for change in form.changes()] == [("opt.wd", "0.25")]
    assert form._cards[0] in form.view.objects
    form.follow(before)
    assert "opt.momentum" not in form.fields


def test_list_of_mappings_is_one_field_of_yaml(tmp_path: Path) -> None:
    form = form_of(view_of(tmp_path, ["datasets"], Key("list"), [{"name": "a", "fraction": 0.5}]))
    field = form.fields["datasets"]
    assert field.text == "[{name: a, fraction: 0.5}]"
    field.type("[{name: a, fraction: 1}, {name: b}]")
    assert form.changes() == [PendingEdit("datasets", field.shown, "[{name: a, fraction: 1}, {name: b}]")]
