from __future__ import annotations

import pytest

from trainctl.config.document import MAX_DEPTH, read_document


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
        ("a: [1, ", "is not YAML"),
        ("a: 1\na: 2", "duplicate key"),
        ("? [a]\n: 1", "is not YAML"),
        ("\x00", "is not YAML"),
        ("a: !!python/name:os.system", "is not YAML"),
        ("a: 1\n---\nb: 2", "is not YAML"),
    ],
)
def test_document_that_could_hurt_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_document(text, ValueError)


def test_document_of_a_person_may_have_aliases() -> None:
    assert read_document("a: &x [1]\nb: *x", ValueError, aliases=True) == {"a": [1], "b": [1]}
