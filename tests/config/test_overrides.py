from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from trainctl.config.overrides import (
    of_one_run,
    override_key,
    parse_overrides,
    parts_of,
    quoted,
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


@pytest.mark.parametrize("path", ["/a b/${x}", "/it's", "/a\\", "/a\\'b\\\\'"])
def test_quoted_path_is_read_back_as_it_is(path: str) -> None:
    value = parse_overrides([f"dir={quoted(path)}"])[0].value()
    assert OmegaConf.create({"dir": value}).dir == path


def test_words_of_hydra_are_written_as_it_reads_them() -> None:
    assert [worded(value) for value in (True, False, None, {"a": 1, "b": False})] == [
        "true",
        "false",
        "null",
        "{a:1,b:false}",
    ]
    for value in ("a\\", "it's", "\\'", ["x\\", {"k": "True"}]):
        assert parse_overrides([f"x={worded(value)}"])[0].value() == value
    assert [parts_of(text)[:2] for text in ("++a=1", "+a=1", "~a", "a=1")] == [
        (False, "a"), (False, "a"), (True, "a"), (False, "a")
    ]  # fmt: skip
    assert of_one_run(["X+hydra.mode=RUN"]) == ["X+hydra.mode=RUN"]
    assert swept_keys(parse_overrides(["++Xa=1", "~Xb"]), ()) == {"Xa", "Xb"}
