from __future__ import annotations

import copy
import datetime
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainctl.config.changelog import Changelog, Edit, dumps, loads, merge
from trainctl.config.keys import leaves
from trainctl.errors import ChangelogError

# What YAML can hold: no lone surrogates; all else, also texts that look like numbers, dates, comments or steps.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "1e-4",
        "null",
        "true",
        "2026-01-01",
        "0x10",
        "1_000",
        "# x",
        "- a",
        "69:  # x",
        "~",
        "=",
        "<<",
        "",
        "a\n\n b\n",
        "\x85",
    ]
)
SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUE = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
CONFIG = st.dictionaries(
    TEXT, st.recursive(SCALAR | st.lists(VALUE, max_size=3), lambda inner: st.dictionaries(TEXT, inner, max_size=3)),
    max_size=4,
)  # fmt: skip


@st.composite
def changelogs(draw: st.DrawFn) -> Changelog:
    base = draw(CONFIG)
    keys = sorted(leaves(base))
    edits = []
    if keys:
        for step in sorted(draw(st.sets(st.integers(1, 10**6), max_size=4))):
            values = draw(st.dictionaries(st.sampled_from(keys), SCALAR | st.lists(VALUE, max_size=3), min_size=1))
            edits.append(Edit(step, values, who=draw(TEXT), via="panel", note=draw(TEXT), at=1.0))
    return Changelog(base, edits)


def exact(value: Any) -> Any:
    """Make 1, 1.0 and True, and 0.0 and -0.0, three and two values."""
    if isinstance(value, dict):
        return {key: exact(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [exact(inner) for inner in value]
    return type(value).__name__, repr(value)


@given(changelogs())
def test_changelog_written_and_read_is_the_same(changelog: Changelog) -> None:
    read = loads(dumps(changelog))
    assert exact(read.base) == exact(changelog.base)
    assert [(edit.step, exact(edit.values)) for edit in read.edits] == [
        (edit.step, exact(edit.values)) for edit in changelog.edits
    ]
    assert dumps(read) == dumps(changelog)  # so the comments survive a second attempt


@given(changelogs(), st.integers(0, 10**6))
def test_config_at_a_step_is_the_fold_of_all_edits_up_to_it(changelog: Changelog, step: int) -> None:
    expected = leaves(changelog.base)
    for edit in changelog.edits:
        if edit.step <= step:
            expected |= edit.values
    found = leaves(changelog.at(step))
    for key, value in expected.items():
        if value != {} and not isinstance(value, dict):
            assert exact(found[key]) == exact(value)


def test_config_at_a_step_leaves_the_record_alone() -> None:
    changelog = Changelog({"a": {"b": [1]}}, [Edit(3, {"a.b": [2]})])
    before = copy.deepcopy(changelog)
    changelog.at(3)["a"]["b"].append(5)
    assert changelog == before
    assert changelog.last_step == 3


def test_changelog_is_written_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        at = datetime.datetime(2026, 7, 24, 21, 3, 18, tzinfo=datetime.timezone.utc).timestamp()
        changelog = Changelog(
            {"norm": {"name": "new"}, "optim": {"lr": 0.1, "betas": [0.9, 0.999]}, "batch_size": 32, 7: {"x": None}},
            [
                Edit(69, {"optim.lr": 0.0002}, "root", "panel", "calmer", at),
                Edit(69, {"batch_size": 64}, None, "cli", "a\n70: {x: 1}  # b"),
                Edit(420, {"batch_size": 16, "7.x": "1e-4"}),
            ],
        )
        assert dumps(changelog) == (
            "# trainctl changelog: 0 is the config, each later step what changed. "
            'A step that trainctl writes ends with "#.";\n'
            "# a last one without it was being written when the run was killed, and does not count.\n"
            "0:\n"
            "  norm: {name: new}\n"
            "  optim:\n"
            "    lr: 0.1\n"
            "    betas: [0.9, 0.999]\n"
            "  batch_size: 32\n"
            "  7: {x: null}\n"
            "#.\n"
            "69:                                   # 21:03:18 panel root: calmer; cli: a 70: {x: 1} # b\n"
            "  optim: {lr: 0.0002}\n"
            "  batch_size: 64\n"
            "#.\n"
            "420:\n"
            "  batch_size: 16\n"
            "  7: {x: '1e-4'}\n"
            "#.\n"
        )
    finally:
        monkeypatch.undo()
        time.tzset()


def test_list_that_becomes_a_mapping_of_indices_is_replaced_whole() -> None:
    changelog = Changelog({"any": None}, [Edit(2, {"any": [1, 2]}), Edit(3, {"any": {0: None}})])
    assert loads(dumps(changelog)) == changelog


def test_mapping_of_indices_changes_those_elements_and_what_is_below_them() -> None:
    text = "0:\n  net:\n  - {opt: {lr: 1, mom: 0.9}}\n  - 3\n3:\n  net: {0: {opt: {lr: 2}}, 2: 5}\n"
    assert loads(text).edits == [Edit(3, {"net": [{"opt": {"lr": 2, "mom": 0.9}}, 3, 5]})]


def test_edits_of_one_step_are_one_and_the_later_wins() -> None:
    merged = merge([Edit(2, {"a": 1, "b": 1}), Edit(1, {"a": 0}), Edit(2, {"b": 2})])
    assert merged == [Edit(1, {"a": 0}), Edit(2, {"a": 1, "b": 2})]


def test_comment_of_many_edits_at_one_step_is_cut() -> None:
    (edit,) = merge([Edit(2, {"a": number}, note=f"note {number}") for number in range(1000)])
    assert edit.values == {"a": 999}
    assert edit.comment.startswith("note 0; note 1; ")
    assert edit.comment.endswith("; …")
    assert len(edit.comment) < 520


TRAINCONFIG = """\
0:
  a: true
  b:
  - foo
  - - 1
    - 2
  - c: 420
    d: 1
10:
  a: false
20:
  b:
    1:
      0: 5
    2:
      c: 1
30:
  b:
    0: bar
    3: new
"""


def test_trainconfig_changelog_loads_with_its_maps_into_lists() -> None:
    assert loads(TRAINCONFIG).edits == [
        Edit(10, {"a": False}),
        Edit(20, {"b": ["foo", [5, 2], {"c": 1, "d": 1}]}),
        Edit(30, {"b": ["bar", [5, 2], {"c": 1, "d": 1}, "new"]}),
    ]


def test_mapping_that_replaces_an_empty_one_is_one_value() -> None:
    changelog = loads("0: {extra: {}}\n1: {extra: {a: 1}}\n2: {extra: {b: 2}}\n")
    assert changelog.at(1) == {"extra": {"a": 1}}
    assert changelog.at(2) == {"extra": {"b": 2}}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "it must be a mapping of steps, and step 0 must hold the full config"),
        ("- a", "it must be a mapping of steps"),
        ("{}", "it has no step 0"),
        ("5: {a: 1}", "it has no step 0"),
        ("0: {a: 1}\n-1: {a: 2}", "-1 is not a step; steps are whole numbers from 0"),
        ("0: {a: 1}\n1.5: {a: 2}", "1.5 is not a step"),
        ("0: {a: 1}\ntrue: {a: 2}", "True is not a step"),
        ("lr: 0.1", "'lr' is not a step"),
        ("0: {a: 1}\n1: 5", "step 1 must hold a mapping of keys to values, not 5"),
        ("0: {a: 1}\n1: {a: 2}\n1: {a: 3}", "it is not YAML .*duplicate key 1"),
        ("0: {a: [", "it is not YAML"),
        ("[" * 100_000, "it is nested more than 100 deep"),
        ("\x00\x01", "it is not YAML"),
    ],
)
def test_file_that_is_no_changelog_is_refused_by_name(text: str, sentence: str) -> None:
    with pytest.raises(ChangelogError, match=f"^my file is not a changelog: {sentence}") as refused:
        loads(text, source="my file")
    assert "\n" not in str(refused.value)


OURS = dumps(Changelog({"a": 1}, [Edit(3, {"a": 2}, via="cli")]))
HEAD = f"{'7:':<38}# 21:03:18 cli"


def test_part_that_a_person_added_to_a_file_of_ours_needs_no_end_mark() -> None:
    for added in ("7:\n  a: 3\n", "7: {a: 3}", "7:  # by hand\n  a: 3", "\n# by hand\n\n7: {a: 3}\n\n"):
        assert loads(OURS + added).edits[1:] == [Edit(7, {"a": 3})]
    assert loads(OURS + "7: {a: 3}\n8: {a: 4}\n").last_step == 8
    assert loads((OURS + "7: {a: 3}\n").replace("\n", "\r\n")).last_step == 7
    assert loads(OURS.replace("#.\n", "").partition("count.\n")[2]) == loads(OURS)  # not said to be ours any more


def test_step_that_was_cut_off_and_others_behind_it_are_refused_by_line() -> None:
    line = OURS.count("\n") + 1
    for left in (f"{HEAD}\n  a: 3\n8: {{a: 4}}\n", f"{HEAD}\n  a: 3\n{HEAD.replace('7', '8', 1)}\n  a: 4\n#.\n"):
        with pytest.raises(ChangelogError, match=f'line {line}: step 7 has no end mark, so lines .* or write "#."'):
            loads(OURS + left)


def test_file_of_ours_that_lost_lines_is_refused_by_line_or_says_what_does_not_count() -> None:
    changelog = Changelog({"a": 1, "b": {"c": 2, "d": "x"}}, [Edit(n, {"a": n, "b.c": n}, via="cli") for n in (3, 5)])
    lines = dumps(changelog).splitlines(keepends=True)
    heads = [number for number, line in enumerate(lines) if line[0].isdigit()]
    for kept in range(3, len(lines)):  # cut off behind any line: only the last part may be missing
        text = "".join(lines[:kept])
        if kept < heads[1]:
            with pytest.raises(ChangelogError, match=r"line 3: step 0 has no end mark"):
                loads(text)
        else:
            steps = [(3, 5)[place] for place in (0, 1) if lines[:kept].count("#.\n") > place + 1]
            assert [edit.step for edit in loads(text).edits] == steps
            assert (loads(text).cut_off is None) == (lines[kept - 1] == "#.\n")
    for head, step in zip(heads[:2], (0, 3), strict=True):  # a hole
        for first in range(head + 1, heads[heads.index(head) + 1]):
            with pytest.raises(ChangelogError, match=f"line {head + 1}: step {step} has no end mark"):
                loads("".join([*lines[:first], *lines[heads[heads.index(head) + 1] :]]))


def test_text_that_is_not_utf_8_is_refused_unless_it_was_cut_off() -> None:
    with pytest.raises(ChangelogError, match=r"^my file is not a changelog: it is not UTF-8 text$"):
        loads(b"0: {a: '\xff'}\n", source="my file")
    with pytest.raises(ChangelogError, match="it is not UTF-8 text"):
        loads(OURS.encode() + b"7: {a: '\xff'}\n")
    assert loads(OURS.encode() + f"{HEAD} ann\xff".encode("latin-1")) == loads(OURS)


@pytest.mark.timeout(120)  # it takes one second on an idle machine
def test_changelog_of_ten_thousand_edits_loads_in_seconds() -> None:
    changelog = Changelog({"optim": {"lr": 0.1}}, [Edit(step, {"optim.lr": step / 7}) for step in range(1, 10_001)])
    text = dumps(changelog)
    assert loads(text) == changelog


def test_text_that_is_no_unicode_is_refused_with_its_key() -> None:
    with pytest.raises(
        ChangelogError, match=r"^data: the text '/old/\\udcff' cannot be recorded: it has bytes that are"
    ):
        dumps(Changelog({"lr": 0.1, "data": {"path": "/old/\udcff"}}, []))
