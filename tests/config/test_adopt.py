"""Values from elsewhere become what the config's keys are."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from trainctl.config.adopt import adopt
from trainctl.config.loaded import Form, Loaded
from trainctl.errors import SourceError


class Color(Enum):
    RED = 1
    BLUE = 2


@dataclass
class Optim:
    lr: float = 0.1
    warmup: int | None = None
    color: Color = Color.RED
    nesterov: bool = False
    name: str = "sgd"
    betas: list[float] = field(default_factory=lambda: [0.9, 0.99])
    loss: float = 1.0
    place: Path = Path("/tmp")


UNTYPED = {"f": 0.1, "i": 3, "b": True, "s": "text", "n": None, "l": [0.1, 0.2], "m": "???", "d": {"x": 1}, "r": "${f}"}


def adopted(target: Any, values: dict[str, Any], form: Form = "exact", **options: Any) -> dict[str, Any]:
    config = OmegaConf.create(target) if isinstance(target, dict) else OmegaConf.structured(target)
    assert isinstance(config, DictConfig)
    unknown = options.pop("unknown", "error")
    protected = options.pop("protected", ())
    adopt(config, Loaded("json/x.json", "x.json", values, form=form, **options), unknown, protected)
    plain: Any = OmegaConf.to_container(config)
    return dict(plain)


def test_texts_become_what_the_keys_of_a_schema_are() -> None:
    texts = {"lr": "1e-4", "warmup": "10", "color": "Color.BLUE", "nesterov": "True", "name": "1", "betas": "[1, 0.5]"}
    expected = {"lr": 1e-4, "warmup": 10, "color": Color.BLUE, "nesterov": True, "name": "1", "betas": [1.0, 0.5]}
    assert adopted(Optim, texts, "text") == {**expected, "loss": 1.0, "place": Path("/tmp")}
    assert adopted(Optim, {"warmup": "None", "loss": "nan"}, "text")["warmup"] is None


def test_texts_become_what_the_values_without_a_schema_are() -> None:
    texts = {"f": "1", "i": "7", "b": "False", "s": "12", "n": "1e-3", "l": "[1, 2]", "m": "8", "d": "{'y': 2}"}
    got = adopted(UNTYPED, texts, "text", unknown="add")
    assert got == {"f": 1.0, "i": 7, "b": False, "s": "12", "n": 1e-3, "l": [1, 2], "m": 8, "d": {"y": 2}, "r": "${f}"}
    assert type(got["f"]) is float


@pytest.mark.parametrize(
    ("target", "values", "sentence"),
    [
        (Optim, {"lr": "fast"}, "lr=fast: it is not of type float"),
        (Optim, {"warmup": "1.5"}, "warmup='1.5': it is not of type int"),
        (Optim, {"color": "GREEN"}, "color=GREEN: it is not one of RED, BLUE"),
        (Optim, {"nesterov": "maybe"}, "nesterov=maybe: it is not of type bool"),
        (Optim, {"betas": "many"}, "betas=many: it is not of type list"),
        (UNTYPED, {"i": "many"}, "i=many: it is not of type int"),
    ],
)
def test_text_that_is_no_such_value_is_refused(target: Any, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        adopted(target, values, "text")


def test_floats_that_became_ints_and_nulls_are_floats_again() -> None:
    got = adopted(Optim, {"lr": 1, "betas": [1, 0.5], "loss": None, "warmup": None}, "plain")
    assert (type(got["lr"]), got["betas"], got["warmup"]) == (float, [1.0, 0.5], None)
    assert math.isnan(got["loss"])
    untyped = adopted(UNTYPED, {"f": 1, "l": [1, 2], "i": 4, "n": 5, "b": False}, "plain")
    assert [type(value) for value in (untyped["f"], *untyped["l"])] == [float] * 3
    assert (untyped["i"], untyped["n"], untyped["b"]) == (4, 5, False)


def test_exact_values_are_taken_as_they_are() -> None:
    assert adopted(UNTYPED, {"f": 1, "l": [1], "s": 3})["f"] == 1
    assert type(adopted(UNTYPED, {"f": 1})["f"]) is int
    declared = adopted(Optim, {"color": "BLUE", "place": "/a/b"})
    assert (declared["color"], declared["place"]) == (Color.BLUE, Path("/a/b"))


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(SourceError, match=r"this config has no q, d\.z; leave out"):
        adopted(UNTYPED, {"q": 1, "d": {"z": 2}})
    with pytest.raises(SourceError, match=r"does not fit this config: lr=a: .*; warmup=b: "):
        adopted(Optim, {"lr": "a", "warmup": "b"})


def test_mappings_of_any_keys_take_any_keys() -> None:
    @dataclass
    class Open:
        weights: dict[str, float] = field(default_factory=dict)

    assert adopted(Open, {"weights": {"a": 1}}, "plain") == {"weights": {"a": 1.0}}


def test_omitted_secrets_and_missing_values_are_left_to_the_config() -> None:
    values = {"s": "OMITTED", "i": "???", "f": 0.5, "q": "OMITTED"}
    got = adopted(UNTYPED, values)
    assert (got["s"], got["i"], got["f"], "q" in got) == ("text", 3, 0.5, False)
    assert adopted(UNTYPED, {"s": "OMITTED"}, is_own=True)["s"] == "OMITTED"


def test_interpolation_from_outside_is_refused_unless_the_config_has_the_same() -> None:
    assert adopted(UNTYPED, {"r": "${f}", "f": 0.5})["r"] == "${f}"
    for values in ({"r": "${oc.env:HOME}"}, {"l": ["${f}"]}, {"s": "${f}"}):
        with pytest.raises(SourceError, match=r"is an interpolation there, and what comes from outside is data"):
            adopted(UNTYPED, values)
    with pytest.raises(SourceError, match=r"q is an interpolation there"):
        adopted(UNTYPED, {"q": {"a": "${f}"}}, unknown="add")
    assert adopted(UNTYPED, {"s": "\\${f}"})["s"] == "\\${f}"
    assert adopted(UNTYPED, {"s": "${f}"}, is_own=True)["s"] == "${f}"


def test_protected_keys_stay() -> None:
    got = adopted(UNTYPED, {"d": {"x": 2, "new": 1}, "f": 0.5}, protected={("d",)})
    assert (got["d"], got["f"]) == ({"x": 1}, 0.5)


def test_keys_that_are_numbers_or_have_dots_are_found() -> None:
    got = adopted({1: {"a.b": 2}}, {"1": {"a.b": 3}}, "plain")
    assert got == {1: {"a.b": 3}}
    with pytest.raises(SourceError, match=r"this config has no 1\.c\\\.d;"):
        adopted({1: {"a.b": 2}}, {"1": {"c.d": 3}})


def test_what_is_left_out_is_said_with_the_reason() -> None:
    config = OmegaConf.create(UNTYPED)
    values = {
        "q": 1, "d": {"z": {"a": 1}}, "s": "OMITTED", "l": ["a", ["OMITTED"]], "imports": ["m"], "config_file": "p.ini",
        "f": 0.5, "hydra": {"x": 1},
    }  # fmt: skip
    followed = "; load each file that imports names with +from@KEY=json/FILE"
    said = adopt(config, Loaded("ini/p.ini", "p.ini", values, notes=("left out before",)), "drop")
    assert said == [
        "left out before",
        "left out, as this config does not have them: q, d.z.a",
        "left out, as they are secret there: s, l",
        f"left out, as these are options of prefigure itself: imports, config_file{followed}",
    ]
    assert (config.f, config.l, "q" in config) == (0.5, [0.1, 0.2], False)
    assert adopt(config, Loaded("ini/p.ini", "p.ini", {"config_file": "p.ini"})) == [
        "left out, as these are options of prefigure itself: config_file"
    ]
    with pytest.raises(
        SourceError, match=r"^\+from=run/x: this config has no config_file;"
    ):  # a run of Hydra has its own
        adopt(config, Loaded("run/x", "x", {"config_file": "p.ini"}, choices={"norm": "new"}))


def test_unknown_keys_are_taken_where_they_are_asked_for() -> None:
    assert adopted(UNTYPED, {"q": {"a": 1}, "d": {"z": 2}}, unknown="add")["q"] == {"a": 1}

    @dataclass
    class Counts:
        of: dict[str, int] = field(default_factory=dict)

    with pytest.raises(SourceError, match=r"does not fit this config: of\.a: Value 'many'"):
        adopted(Counts, {"of": {"a": "many"}})


def test_key_with_dashes_is_the_one_with_underscores() -> None:
    assert adopted({"lr_end": 1, "a-b": 2}, {"lr-end": 3, "a-b": 4}) == {"lr_end": 3, "a-b": 4}


def test_record_of_a_server_leaves_what_is_of_the_moment() -> None:
    target = {"day": "${now:%d}", "dir": "x/${hydra:job.name}", "lr": 0.1}
    assert adopted(target, {"day": "31", "dir": "y", "lr": 1}, is_record=True) == {**target, "lr": 1}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None), ("inf", math.inf), ("True", True), ("(1, 2)", [1, 2]), ("{'a': None}", {"a": None}),
        ("b'x'", "b'x'"), ("{1, 2}", "{1, 2}"), ("a: b", "a: b"), ("\\${x}", "\\${x}"),
    ],
)  # fmt: skip
def test_text_of_any_value_is_the_value_that_python_wrote(text: str, value: Any) -> None:
    assert adopted({"n": None}, {"n": text}, "text")["n"] == value
