from __future__ import annotations

import pytest

from trainctl.config.controls import Key
from trainctl.config.relative import check_jump
from trainctl.errors import EditError

TEN = Key("float", max_change=10)


@pytest.mark.parametrize(
    ("old", "new"),
    [(0.1, 1.0), (1.0, 0.1), (0.7, 0.07), (3e-4, 3e-5), (-1.0, -10.0), (0.0, 0.0), (5, 5), (10**400, 10**401),
     ("a", "b"), (None, 1.0), (1.0, None), (True, False)],
)  # fmt: skip
def test_change_by_the_factor_or_less_is_allowed_in_both_directions(old: object, new: object) -> None:
    check_jump("lr", old, new, TEN)


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        (
            0.1,
            1.01,
            r"^lr=1\.01: from 0\.1 that is a factor of 10\.1, and one edit may change the key by a factor of 10 at",
        ),
        (1.0, 0.0999, r"a factor of 10, and|a factor of 10\.\d, and"),
        (0.1, 0.0, r"a change from 0\.1 to 0\.0 has no factor, and one edit"),
        (0.0, 0.1, r"a change from 0\.0 to 0\.1 has no factor"),
        (0.1, -0.1, r"a change from 0\.1 to -0\.1 has no factor"),
        (1, 10**400, r"a factor of more than 1e300"),
        (1, 11, r"ask again with force if it is meant$"),
    ],
)
def test_larger_change_is_refused_and_so_is_one_that_has_no_factor(old: float, new: float, wrong: str) -> None:
    with pytest.raises(EditError, match=wrong):
        check_jump("lr", old, new, TEN)


def test_key_without_max_change_takes_any_jump() -> None:
    check_jump("lr", 1e-30, -1e30, Key("float"))
