from __future__ import annotations

import contextlib
from enum import Enum
from pathlib import Path

import pytest

from trainctl.config.yaml import MAX_DEPTH, dumps, loads, read_document


def test_document_is_read_by_omegaconfs_rules() -> None:
    assert read_document("lr: 1e-4\nday: 2026-01-01", ValueError) == {"lr": 1e-4, "day": "2026-01-01"}


def test_document_may_be_nested_up_to_the_limit() -> None:
    assert read_document("[" * MAX_DEPTH + "]" * MAX_DEPTH, ValueError)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[" * 100_000, "nested more than 100 deep"),
        ("- " * 100_000, "nested more than 100 deep"),
        ("{a: " * 100_000, "nested more than 100 deep"),
        ("a: &x [1]\nb: *x", "has a YAML alias"),
        ("a: 1\nb: [1, ", r"^it is not YAML \(line 3, column 1: did not find .* while parsing a flow node\)$"),
        ("a: 1\na: 2", r"^it is not YAML \(line 2, column 1: found duplicate key a while constructing a mapping\)$"),
        ('"a\\nb": 1\n"a\\nb": 2', r"found duplicate key a b while constructing a mapping\)$"),
        ("? [a]\n: 1", r"^it is not YAML \(line 1, column 3: found list or mapping as a key while .*\)$"),
        ("\x00", r"^it is not YAML \(the character #x0000 at position 0 is not allowed\)$"),
        ("a: !!python/name:os", r"^it is not YAML \(line 1, column 4: the tag '!!python/name:os' is not allowed\)$"),
        ("a: 1\n---\nb: 2", r"^it is not YAML \(line 2, column 1: a second document begins\)$"),
        ("a: !!int abc", r"^it is not YAML \(a number, day or tagged value cannot be read\)$"),
    ],
)
def test_document_that_could_hurt_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        read_document(text, ValueError)
    assert "unicode string" not in str(caught.value)


def test_document_of_a_person_may_have_aliases() -> None:
    assert read_document("a: &x [1]\nb: *x", ValueError, aliases=True) == {"a": [1], "b": [1]}


NINE = "[" + ", ".join(["*a{0}"] * 9) + "]"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a0: &a0 [x]\n" + "".join(f"a{at + 1}: &a{at + 1} {NINE.format(at)}\n" for at in range(30)), "make it larger"),
        ("a0: &a0 [x]\n" + "".join(f"a{at + 1}: &a{at + 1} [*a{at}]\n" for at in range(200)), "nested more than 100"),
        ("a: &a [*a]", "that refers to nothing, or to what contains it"),
        ("a: *b", "that refers to nothing, or to what contains it"),
    ],
)
def test_alias_that_stands_for_too_much_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_document(text, ValueError, aliases=True)


def test_alias_that_stands_for_little_is_read() -> None:
    text = "a: &x {b: &y [1, 2]}\nc: *x\nd: [*y, *y]\ne: {<<: *x}\n"
    shared = {"b": [1, 2]}
    assert read_document(text, ValueError, aliases=True) == {"a": shared, "c": shared, "d": [[1, 2]] * 2, "e": shared}


@pytest.mark.parametrize("text", ["!!bool q", "!!timestamp z", "!!int ''", "!!float x", "!!binary x", "!!set {a: 1}"])
def test_tag_that_does_not_fit_its_value_is_refused_in_one_way(text: str) -> None:
    class RefusedError(Exception):
        pass

    with contextlib.suppress(RefusedError):  # what fits is read; nothing else may be raised
        read_document(text, RefusedError)


@pytest.mark.parametrize("number", ["0x" + "f" * 5000, "1" * 2000, "0b" + "1" * 2000])
def test_number_that_nobody_could_write_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match="a whole number of more than 1000 digits"):
        read_document(f"a: {number}", ValueError)


class Norm(Enum):
    NEW = 1


def test_values_of_a_program_are_written_as_texts() -> None:
    written = dumps({"norm": Norm.NEW, "path": Path("data/a")})
    assert written == "norm: NEW\npath: data/a\n"
    assert loads(written) == {"norm": "NEW", "path": "data/a"}
