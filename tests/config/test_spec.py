from __future__ import annotations

from typing import Any

import pytest

from trainctl.config.spec import ControlSpec, parse_spec
from trainctl.errors import SettingError


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("!", ControlSpec(locked="locked by trainctl.controls")),
        (
            "[float|1e-6|1|log]!",
            ControlSpec("float", min=1e-6, max=1.0, log=True, locked="locked by trainctl.controls"),
        ),
        ("[int||64]", ControlSpec("int", max=64.0)),
        ("[]", ControlSpec()),
        ({"choices": [16, 32], "help": "a power of two"}, ControlSpec(choices=[16, 32], help="a power of two")),
        ({"locked": False, "min": 0, "step": 0.1}, ControlSpec(min=0, step=0.1)),
        (
            {"when": "epoch", "max_change": 10, "checkpoint_first": True},
            ControlSpec(when="epoch", max_change=10, checkpoint_first=True),
        ),
        ({"min": 1, "max": 1, "max_change": 1.5, "help": 3}, ControlSpec(min=1, max=1, max_change=1.5, help="3")),
        ({"optional": True, "log": False, "hidden": True}, ControlSpec(optional=True, log=False, hidden=True)),
        ({"locked": "the data are loaded already"}, ControlSpec(locked="the data are loaded already")),
    ],
)
def test_spec_is_read_in_both_forms(spec: Any, expected: ControlSpec) -> None:
    assert parse_spec(spec) == expected


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("", r"'' is not a control; allowed are '!' and "),
        ("locked", "'locked' is not a control"),
        ("[float|a]", "min must be a number but got 'a'"),
        ("[float|1|2|3]", "has too many words"),
        ("[number]", "type 'number' is not known; allowed are bool, int, float, str, list, dict, any"),
        (3, "3 is not a control; write a mapping"),
        ({"maximum": 1}, "has the unknown word 'maximum'; allowed are type, optional, locked, choices, min, max"),
        ({"min": 2, "max": 1}, "min 2 is greater than max 1"),
        ({"min": float("nan")}, "min must be a finite number but got nan"),
        ({"max": "1"}, "max must be a finite number but got '1'"),
        ({"max": 10**400}, f"max must be a finite number but got 1{'0' * 59}"),
        ({"when": "later"}, "when 'later' is not known; allowed are live, epoch, restart"),
        ({"when": ["epoch"]}, r"when \['epoch'\] is not known"),
        ({"type": ["int"]}, r"type \['int'\] is not known"),
        ({"max_change": 1}, "max_change must be a factor greater than 1 but got 1"),
        ({"max_change": "10"}, "max_change must be a finite number but got '10'"),
        ({"checkpoint_first": 1}, "checkpoint_first must be true or false but got 1"),
        ({"choices": []}, "choices must be a list of at least one value"),
        ({"step": "1"}, "step must be a finite number but got '1'"),
        ({"optional": 1}, "optional must be true or false but got 1"),
        ({"log": "yes"}, "log must be true or false but got 'yes'"),
        ({"hidden": "yes"}, "hidden must be true or false but got 'yes'"),
        ({"locked": 1}, "locked must be true, false or the reason as text but got 1"),
    ],
)
def test_spec_that_is_none_is_refused_with_what_is_allowed(spec: Any, sentence: str) -> None:
    with pytest.raises(SettingError, match=rf"^trainctl\.controls: 'model\.\*'.*{sentence}"):
        parse_spec(spec, "model.*")


def test_control_without_a_pattern_is_named_by_its_setting() -> None:
    with pytest.raises(SettingError, match=r"^trainctl\.controls: 3 is not a control"):
        parse_spec(3)
