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
