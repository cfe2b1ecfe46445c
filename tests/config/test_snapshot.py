from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from trainctl.config.snapshot import moment_keys, recorded_by_value, snapshot


class Act(Enum):
    RELU = 1
    GELU = 2


@dataclass
class Net:
    act: Act = Act.RELU
    path: Path = Path("data/x")
    sizes: list[int] = field(default_factory=lambda: [1, 2])


@pytest.fixture(autouse=True)
def resolvers() -> Iterator[None]:
    OmegaConf.register_new_resolver("moment_of_test", lambda: "noon")
    OmegaConf.register_new_resolver("add_of_test", lambda one, other: one + other)
    yield
    OmegaConf.clear_resolver("moment_of_test")
    OmegaConf.clear_resolver("add_of_test")


def test_snapshot_keeps_references_as_text() -> None:
    config = OmegaConf.create({"lr": 0.1, "end": "${lr}", "deep": {"up": "${..lr}", "list": ["${lr}", "${end}"]}})
    assert snapshot(config) == OmegaConf.to_container(config, resolve=False)


def test_snapshot_never_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_TEST", "hunter2")
    config = OmegaConf.create({"token": "${oc.env:SECRET_OF_TEST}", "n": "${oc.decode:${oc.env:SECRET_OF_TEST}}"})
    assert "hunter2" not in str(snapshot(config))


def test_snapshot_records_calls_by_value_unless_they_mention_keys() -> None:
    config = OmegaConf.create({
        "lr": 1, "at": "${moment_of_test:}", "sum": "${add_of_test:1,2}", "text": "run-${moment_of_test:}-${lr}",
        "twice": "${add_of_test:${lr},${lr}}", "chosen": "${oc.select:lr}",
    })  # fmt: skip
    assert snapshot(config) == {
        "lr": 1, "at": "noon", "sum": 3, "text": "run-noon-${lr}",
        "twice": "${add_of_test:${lr},${lr}}", "chosen": "${oc.select:lr}",
    }  # fmt: skip


@pytest.mark.parametrize("use_cache", [False, True])
@pytest.mark.parametrize("struct", [False, True])
def test_snapshot_records_calls_with_constants_by_value_in_a_strict_config_too(struct: bool, use_cache: bool) -> None:
    OmegaConf.register_new_resolver("mul_of_test", lambda one, other: one * other, use_cache=use_cache, replace=True)
    config = OmegaConf.create({
        "x": "${mul_of_test:2,3}", "half": "${mul_of_test:.5,-3}", "name": "${mul_of_test:resnet50,1}",
        "nested": "${mul_of_test:${mul_of_test:1,2},3}", "list": ["${mul_of_test:a.b,2}", 1],
        "missing": "${oc.select:gone.key,3}", "made": "${oc.create:{a:1}}", "both": "${mul_of_test:${x},3}",
    })  # fmt: skip
    OmegaConf.set_struct(config, struct)
    assert snapshot(config) == {
        "x": 6, "half": -1.5, "name": "resnet50", "nested": 6, "list": ["a.ba.b", 1], "missing": 3, "made": {"a": 1},
        "both": "${mul_of_test:${x},3}",
    }  # fmt: skip
    assert set(recorded_by_value(config)) == {"x", "half", "name", "nested", "list", "missing", "made"}


def test_snapshot_keeps_the_text_of_calls_that_mention_what_lies_in_a_list_or_behind_a_reference() -> None:
    config = OmegaConf.create(
        {"l": [1], "o": {"lr": 1}, "ref": "${o}", "x": "${oc.select:l.0}", "y": "${oc.select:ref.lr}"}
    )
    assert snapshot(config) == OmegaConf.to_container(config)


def test_snapshot_keeps_the_text_of_calls_whose_value_no_yaml_holds() -> None:
    OmegaConf.register_new_resolver("odd_of_test", lambda name: {"set": {1}, "path": Path("a")}[name], replace=True)
    config = OmegaConf.create({"one": "${odd_of_test:set}", "two": "${odd_of_test:path}"})
    assert snapshot(config) == {"one": "${odd_of_test:set}", "two": "a"}


def test_moment_within_a_call_is_known() -> None:
    assert moment_keys(OmegaConf.create({"day": "${add_of_test:${now:%d},x}"})) == {"day"}


def test_snapshot_keeps_the_text_of_what_cannot_be_resolved_here() -> None:
    config = OmegaConf.create({"dir": "${hydra:runtime.output_dir}", "must": "???", "none": None})
    assert snapshot(config) == {"dir": "${hydra:runtime.output_dir}", "must": "???", "none": None}


def test_snapshot_writes_enums_by_name_and_paths_as_text_and_leaves_hydra_out() -> None:
    config = OmegaConf.create({"net": OmegaConf.structured(Net), "hydra": {"verbose": False}, 3: {"hydra": 1}})
    assert snapshot(config) == {"net": {"act": "RELU", "path": "data/x", "sizes": [1, 2]}, 3: {"hydra": 1}}


def test_moment_keys_are_the_leaves_that_differ_in_every_run() -> None:
    config = OmegaConf.create({
        "day": "${now:%d}", "dir": {"out": "${hydra:runtime.output_dir}"}, "all": [1, {"x": "a-${now:%H}"}],
        "at": "${moment_of_test:}", "day2": "${day}",
    })  # fmt: skip
    assert moment_keys(config) == {"day", "dir.out", "all"}
    assert set(recorded_by_value(config)) == {"day", "dir.out", "all", "at"}
