from __future__ import annotations

from typing import Any

import pytest

from trainctl.config.changelog import Changelog, Edit
from trainctl.config.masking import MASK, Masking, is_secret, patterns_of

SECRET = "sk-0123456789"


@pytest.mark.parametrize(
    ("key", "value", "is_hidden"),
    [
        ("hub.token", SECRET, True), ("api.KEY", SECRET, True), ("hf-token", SECRET, True), ("apiKey", SECRET, True),
        ("db.password.of", SECRET, True), ("users.secret_names", ["ada"], True), ("token", None, True),
        ("max_tokens", 8, False), ("token", 8, False), ("eos_token", "</s>", False), ("tokenizer", "bpe", False),
        ("token", "${oc.env:TOKEN}", False), ("token", "???", False), ("token", "${oc.env:TOKEN,abc}", True),
        ("data.key", "name", False), ("data.key", "a1" * 10, True), ("data.key", "a" * 20, False),
        ("num_keys", 3, False), ("token", [], False), ("token", {"a": ["x"]}, True),
        ("quiet", 3, True), ("quiet.deep", 0.5, True), ("quieter", "x", False), ("quiet.open", "x", False),
        ("trainctl.hidden", ["quiet"], False), ("loud_token", SECRET, False),
    ],
)  # fmt: skip
def test_secret_is_known_by_its_key_and_by_patterns(key: str, value: Any, is_hidden: bool) -> None:
    masking = Masking({}, ["quiet", "!quiet.open", "!loud_*"])
    assert masking.conceals(key, value) is is_hidden
    assert masking.hidden_names == {"quiet"}


def test_secret_is_masked_wherever_its_text_appears() -> None:
    masking = Masking({"api": {"key": SECRET}, "pins": [{"token": "abcd1234"}, "x"], "n_token": "short"}, ["pin"])
    masking.learn("pin", 123456789)
    assert masking.text(f"{SECRET} abcd1234 123456789 short") == f"{MASK} {MASK} {MASK} short"
    assert masking.value("note", [f"with {SECRET}", {"password": "x", "n": 1}, 3]) == [
        f"with {MASK}", {"password": MASK, "n": 1}, 3
    ]  # fmt: skip
    assert masking.value("api.key", None) is None
    assert masking.values({"api.key": SECRET, "lr": 0.1}) == {"api.key": MASK, "lr": 0.1}
    assert masking.nested({"api": {"key": SECRET, "url": f"x/{SECRET}"}, "lr": 0.1, "empty": {}}) == {
        "api": {"key": MASK, "url": f"x/{MASK}"}, "lr": 0.1, "empty": {}
    }  # fmt: skip
    assert Masking({}, ["a.b.c"]).nested({"a": {"b": {"c": 1, "d": 2}}, "b": {"c": 3}}) == {
        "a": {"b": {"c": MASK, "d": 2}}, "b": {"c": 3}
    }  # fmt: skip
    other = Masking({}, mask="***")
    other.include(masking)
    assert other.text(f"a {SECRET}") == "a ***"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("login --api_key=abc lr=0.1", f"login --api_key={MASK} lr=0.1"),
        ('{"token": "abc", "n": 1}', f'{{"token": {MASK}, "n": 1}}'),
        ("token: 'a b'\nlr: 1", f"token: {MASK}\nlr: 1"),
        ("++hub.token=abc", f"++hub.token={MASK}"),
        ("token=3 max_token=1e-3 token=null token={a: b}", "token=3 max_token=1e-3 token=null token={a: b}"),
        ("quiet=3", f"quiet={MASK}"),
        ("SecretError: no such thing", "SecretError: no such thing"),
        ("the token is not assigned", "the token is not assigned"),
    ],
)
def test_value_that_a_text_assigns_to_a_secret_key_is_masked(text: str, masked: str) -> None:
    assert Masking({}, ["quiet"]).text(text) == masked


def test_text_with_many_keys_is_masked_to_its_end() -> None:
    text = " ".join(f"key{number}=x" for number in range(3000))
    assert Masking({}).text(f"{text} token=abc") == f"{text} token={MASK}"


def test_edits_are_masked_in_values_notes_and_parts_and_teach_their_secrets() -> None:
    parts = (Edit(3, {"token": SECRET}, note=f"use {SECRET}"), Edit(3, {"lr": 0.1}))
    edit = Edit(3, {"token": SECRET, "lr": 0.1}, note="two edits", parts=parts)
    masking = Masking({})
    masking.learn_edits(Changelog({}, [edit]))
    assert masking.text(SECRET) == MASK
    hidden = masking.edit(edit)
    assert (hidden.values, hidden.note) == ({"token": MASK, "lr": 0.1}, "two edits")
    assert [(part.values, part.note) for part in hidden.parts] == [
        ({"token": MASK}, f"use {MASK}"), ({"lr": 0.1}, None)
    ]  # fmt: skip


def test_override_is_a_secret_by_its_text() -> None:
    assert is_secret("hub/token", "abc")
    assert not any(is_secret("token", text) for text in ("1e3", "true", "null", "-.inf", "${oc.env:TOKEN}"))


@pytest.mark.parametrize("node", [None, 3, {"hidden": "token"}, {"other": []}])
def test_patterns_that_are_not_a_list_hide_nothing(node: Any) -> None:
    assert patterns_of({"trainctl": node}) == []
    assert patterns_of({"trainctl": {"hidden": ["a"], "shown": ["b"]}}, "shown") == ["b"]


@pytest.mark.parametrize("text", ["9" * 10**6 + "x", "9" * 10**6 + ".", "_" * 10**6 + "[", "1e" + "9" * 10**6 + "e"])
def test_long_text_that_begins_like_a_number_takes_no_square_of_its_length(text: str) -> None:
    assert is_secret("token", text)
    assert not is_secret("token", text[:-1])
