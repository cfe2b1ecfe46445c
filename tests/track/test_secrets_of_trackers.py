"""What no tracker is told: secrets and what `trainctl.omit` names, in whatever words they were given."""

from __future__ import annotations

import re
from typing import Any

import pytest

from trainctl.config.changelog import Changelog, Edit, dumps
from trainctl.config.naming import job_name
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.track.facts import Told

CONFIG: dict[str, Any] = {
    "api_key": "sesame street", "pin_token": "one two", "lr": 0.1,
    "data": {"path": "/private", "owner": "bob", "parts": [{"url": "ftp"}]},
    "db": {"host": "h", "password": "abc"},
    "trainctl": {"omit": ["data"]},
}  # fmt: skip


def told(run: RunDir, *overrides: str, edits: tuple[Edit, ...] = ()) -> Told:
    run.create()
    run.changelog.write_text(dumps(Changelog(CONFIG, list(edits))))
    files.write_yaml(run.run, {"overrides": list(overrides)})
    return Told(run)


def test_a_key_that_is_omitted_is_omitted_with_all_below_it(run: RunDir) -> None:
    facts = told(run, edits=(Edit(3, {"data.owner": "eve"}),)).facts()
    assert [facts.config[key] for key in ("data.path", "data.owner", "data.parts")] == ["OMITTED"] * 3
    everything = f"{facts} {list(Told(run).changes())} {Told(run).text()}"
    assert not any(secret in everything for secret in ("/private", "bob", "ftp", "eve"))


@pytest.mark.parametrize(
    ("override", "shown"),
    [
        ("api_key='sesame street'", "api_key=OMITTED"),
        ("+pin_token=abc", "+pin_token=OMITTED"),
        ("+pin_token=1234", "+pin_token=1234"),
        ("data.owner=bob", "data.owner=OMITTED"),
        ("api_key=abc def ghi", "api_key=OMITTED"),
        ("+data={path:/x,owner:bob}", "+data={path: OMITTED, owner: OMITTED}"),
        ("db={host:h,password:abc}", "db={host: h, password: OMITTED}"),
        ("dbs=[{password:abc}]", "dbs=[{password: OMITTED}]"),
        ("db={host:h}", "db={host:h}"),
        ("~data", "~data"),
        ("lr=0.1", "lr=0.1"),
        ("lr={", "lr={"),
    ],
)
def test_an_override_is_told_without_what_is_secret_in_it(run: RunDir, override: str, shown: str) -> None:
    assert told(run, override).facts().overrides == [shown]


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["pin_token=onetwo", "lr=0.1"], r"Lr_0\.1-PinToken-[0-9a-f]{8}"),
        (["api_key=a-b_c", "lr=0.1", "zoom=2"], r"ApiKey-Lr_0\.1-Zoom_2-[0-9a-f]{8}"),
        (["api_key=Ab", "lr=0.1"], r"ApiKey-Lr_0\.1-[0-9a-f]{8}"),
        (["lr=0.1"], r"Lr_0\.1"),
    ],
)
def test_the_name_of_a_run_has_no_secret_either(tmp_path: Any, overrides: list[str], name: str) -> None:
    run = RunDir.at(tmp_path / "sweep" / job_name(overrides))
    facts = told(run, *overrides).facts()
    assert re.fullmatch(name, facts.name)
    assert facts.group == "sweep"
