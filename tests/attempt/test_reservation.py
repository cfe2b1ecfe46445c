"""What `run.yaml` says is written faster than by YAML's emitter, and is the same."""

from __future__ import annotations

from typing import Any

import pytest

from trainctl.attempt import reservation
from trainctl.config import yaml
from trainctl.rundir.provenance import machine_facts

FACTS = {"name": "Norm_new", "identity": "0af", "overrides": ["lr=1e-4"], **machine_facts()}


@pytest.mark.parametrize(
    "record",
    [
        FACTS | {"seed": 1, "parent": None},
        {"packages": {}, "seed": 1},
        {"packages": {"a": "1.0"}},
        {"packages": None, "seed": 1},
        {"seed": 1, "packages": {"a": "1.0", "b": "2"}, "last": {"packages": {"c": "no"}}},
    ],
)
def test_record_is_what_yaml_makes_of_it(record: dict[str, Any]) -> None:
    for _ in range(2):  # the second time from memory
        assert reservation._text(record) == yaml.dumps(record)
    assert yaml.loads(reservation._text(record)) == record


def test_another_list_of_packages_is_another_text() -> None:
    one, other = {"packages": {"a": "1.0"}}, {"packages": {"a": "1.1"}}
    assert [reservation._text(each) for each in (one, other)] == [yaml.dumps(one), yaml.dumps(other)]
