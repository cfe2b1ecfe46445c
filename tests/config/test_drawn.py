"""A value that a resolver draws is given once, and does not count; one that it computes is left as it is written."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from trainctl.config.drawn import NOT_KEPT, draw, drawn_texts
from trainctl.config.identity import environment_identity, identity
from trainctl.config.settings_node import move_settings

MADE = {
    "t_uuid": (lambda *_: uuid.uuid4().hex, False),
    "t_cached": (lambda: uuid.uuid4().hex, True),
    "t_numbers": (lambda: [random.random(), {"b": random.random()}], False),
    "t_path": (lambda: Path(f"/{uuid.uuid4()}"), False),
    "t_odd": (lambda: "${oc.env:HOME}" + str(random.random()), False),
    "t_twice": (lambda n: 2 * n, False),
    "t_raises": (lambda: 1 / 0, False),
}


@dataclass
class Typed:
    seed: int = 0
    name: str = "${t_uuid:}"


@pytest.fixture(autouse=True)
def resolvers() -> Iterator[None]:
    coins = itertools.cycle([0, 0, 0, 1])  # the same three times in a row
    for name, (function, is_cached) in {**MADE, "t_coin": (lambda: next(coins), False)}.items():
        OmegaConf.register_new_resolver(name, function, use_cache=is_cached)
    yield
    for name in (*MADE, "t_coin"):
        OmegaConf.clear_resolver(name)


@pytest.mark.parametrize("text", ["${t_uuid:}", "${t_cached:}", "run-${t_uuid:}", "${t_coin:}", "${t_uuid:${x}}"])
def test_drawn_value_is_given_once_and_followed(text: str) -> None:
    config = OmegaConf.create({"x": 1, "path": "/data/${id}", "id": text})
    assert drawn_texts(config) == {"id": text}
    drawn = draw(config).found
    assert drawn["id"].text == text
    assert config.id == config.id == drawn["id"].value
    assert config.path == f"/data/{config.id}"
    assert drawn["id"].put_back("earlier").value == config.id == "earlier"


@pytest.mark.parametrize(
    "text", ["${t_twice:2}", "${oc.env:HOME}", "${x}", "${t_raises:}", "${t_twice:${x}}", "${no:}"]
)
def test_value_that_is_not_drawn_stays_as_it_is_written(text: str) -> None:
    config = OmegaConf.create({"x": 1, "y": text})
    before = OmegaConf.to_yaml(config)
    assert draw(config).found == {} == drawn_texts(config)
    assert OmegaConf.to_yaml(config) == before


def test_what_is_computed_from_a_drawn_value_is_of_the_one_that_is_kept() -> None:
    config = OmegaConf.create({"double": "${t_twice:${id}}", "id": "${t_uuid:}"})
    assert set(draw(config).found) == {"id"}
    assert config.double == 2 * config.id


def test_lists_and_texts_with_dollars_are_kept_as_they_are() -> None:
    config = OmegaConf.create({"a": "${t_numbers:}", "b": ["${t_odd:}"], "path": "${t_path:}"})
    OmegaConf.set_readonly(config, True)
    OmegaConf.set_struct(config, True)
    drawn = draw(config).found
    assert config.a == config.a == drawn["a"].value
    assert config.b[0] == config.b[0]
    assert config.b[0].startswith("${oc.env:HOME}0.")
    assert drawn["path"].value is NOT_KEPT  # YAML would make a text of it


@pytest.mark.parametrize("earlier", [[1], {"a": 1}, object()])
def test_earlier_value_that_does_not_fit_is_passed_over(earlier: Any) -> None:
    config = OmegaConf.structured(Typed)
    drawn = draw(config).found
    assert drawn["name"].put_back(earlier).value == config.name == drawn["name"].value


def test_earlier_value_is_never_an_interpolation() -> None:
    config = OmegaConf.create({"id": "${t_uuid:}"})
    draw(config).found["id"].put_back("${oc.env:HOME}")
    assert config.id == "${oc.env:HOME}"


def test_drawn_value_and_what_refers_to_it_do_not_tell_jobs_apart() -> None:
    seen = set()
    for x in (1, 1, 2):
        config = OmegaConf.create({"x": x, "id": "${t_uuid:}", "data": {"path": "/${id}/a"}, "all": "${data}"})
        texts = drawn_texts(config)
        before = identity(config, (), texts)
        draw(config)
        assert identity(config, (), texts) == before
        seen.add(before)
    assert len(seen) == 2


def test_settings_and_variables_that_are_drawn_do_not_count_and_have_one_value_each() -> None:
    seen = set()
    for x in (1, 1, 2):
        variables = {"RUN": "${t_uuid:}", "KEPT": "a"}
        config = OmegaConf.create(
            {
                "x": x,
                "seed": "${trainctl.seed}",
                "trainctl": {"seed": "${t_uuid:}"},
                "hydra": {"job": {"env_set": variables}},
            }
        )
        move_settings(config)
        texts = drawn_texts(config)
        before = identity(config, (), texts), environment_identity(config, (), texts)
        draws = draw(config)
        assert set(draws.found) == {"trainctl.seed", "hydra.job.env_set.RUN"} == set(texts)
        assert config.seed == config.hydra.trainctl.seed == draws.found["trainctl.seed"].value
        draws.put_back({"trainctl.seed": 3, "hydra.job.env_set.RUN": "r"})
        assert (config.seed, config.hydra.trainctl.seed, config.hydra.job.env_set.RUN) == (3, 3, "r")
        assert (identity(config, (), texts), environment_identity(config, (), texts)) == before
        seen.add(before)
    assert len(seen) == 2


def test_drawn_value_that_may_be_a_secret_stays_as_it_is_written() -> None:
    config = OmegaConf.create({"api_token": "${t_uuid:}", "mine": "${t_uuid:}", "x": "${t_uuid:password}"})
    draws = draw(config, ["mine"])
    assert draws.texts == OmegaConf.to_container(config)
    assert draws.facts() == {}
