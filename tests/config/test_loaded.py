from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from trainctl.config.loaded import Loaded, comments_of, keep_copies, kept_copies, values_of

WHOLE = Loaded(
    "ini/a.ini",
    "/a.ini",
    {"lr": 0.1, "name": "${oc.env:HOME}", "trainctl": {"seed": 1}},
    form="plain",
    help={"lr": "how fast"},
    notes=("left out, as it is a test: x",),
)
BELOW = Loaded("json/b.json", "/b.json", {"width": 3}, at="model", help={"width": "how wide"})


def test_copies_are_kept_in_hydras_node_as_data() -> None:
    hydra = OmegaConf.create({"runtime": {"cwd": "/"}})
    OmegaConf.set_struct(hydra, True)
    assert (kept_copies(None), kept_copies(hydra)) == ([], [])
    keep_copies(hydra, [WHOLE, BELOW])
    assert OmegaConf.to_container(hydra, resolve=True)  # nothing in it is an interpolation
    records = kept_copies(hydra)
    # as in the run.yaml of earlier versions: `at` only where it says something, what was said only once
    assert ["at" in record for record in records] == [False, True]
    assert not any("notes" in record for record in records)
    again = [Loaded.from_dict(record) for record in records]
    assert [each.values for each in again] == [WHOLE.values, BELOW.values]
    assert [each.override for each in again] == ["+from=ini/a.ini", "+from@model=json/b.json"]
    assert not any(each.notes for each in again)  # said when it was loaded
    assert [values_of(record) for record in records] == [
        {"lr": 0.1, "name": "${oc.env:HOME}"}, {"model.width": 3}
    ]  # fmt: skip
    assert comments_of(records) == {"lr": "how fast", "model.width": "how wide"}


@pytest.mark.parametrize("said", [None, ["a"], {"lr": 3}])
def test_comments_that_are_not_text_are_skipped(said: Any) -> None:
    assert comments_of([{"help": said}]) == {}


def test_record_that_is_not_a_copy_is_refused() -> None:
    with pytest.raises(TypeError, match="place"):
        Loaded.from_dict({"source": "x", "origin": "y", "values": {}, "place": 3})
