from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from trainctl.config.overrides import (
    of_one_run,
    override_key,
    parse_overrides,
    shared_texts,
    swept_keys,
    task_parts,
    worded,
)
from trainctl.errors import SettingError


def hydra(*task: str) -> Any:
    return OmegaConf.create({"overrides": {"task": list(task)}, "a": 3})


def test_overrides_of_the_task_are_read_as_they_were_written() -> None:
    assert task_parts(hydra("lr=${a}", "++db@src=True", "~opt")) == [
        (False, "lr", "${a}"), (False, "db@src", "true"), (True, "opt", "")
    ]  # fmt: skip
    assert override_key("+db@src=x") == "db@src"


def test_swept_keys_are_those_whose_text_the_jobs_do_not_share() -> None:
    shared = shared_texts(hydra("norm=new,batch", "+name='a b'", "epochs=3"))
    assert shared == {"+name='a b'", "epochs=3"}
    job = parse_overrides(["norm=new", "+name='a b'", "epochs=3", "~opt"])
    assert swept_keys(job, shared) == {"norm", "opt"}


def test_overrides_of_a_sweep_are_not_those_of_its_jobs() -> None:
    sweep = [
        "hydra/launcher=slots",
        "++hydra.sweep.dir=x",
        "hydra/sweeper=grids",
        "hydra.mode=MULTIRUN",
        "hydra.run.dir=y",
    ]
    assert of_one_run([*sweep, "hydra.job.chdir=true", "lr=1"]) == ["hydra.job.chdir=true", "lr=1"]


def test_value_that_no_override_can_have_is_refused() -> None:
    assert worded({"a": (1, None)}) == "{a:[1,null]}"
    with pytest.raises(SettingError, match=r"is a set, which no override can have; write it as text"):
        worded([{1}])
