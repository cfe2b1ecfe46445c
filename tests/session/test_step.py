from __future__ import annotations

import re
import secrets
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from session_fixtures import Answered, EndRun, OpenLive, answers, config

from trainctl.attempt import attempt
from trainctl.config.changelog import loads
from trainctl.config.controls import Key
from trainctl.errors import ChangelogError, DriftError
from trainctl.rundir import files
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir
from trainctl.session.api import live


def test_changelog_holds_the_full_config_from_the_start(open_live: OpenLive, run: RunDir) -> None:
    open_live(config())
    changelog = loads(run.changelog.read_text())
    assert changelog.base["optim"] == {"lr": 0.1, "betas": [0.9, 0.999]}
    assert changelog.base["end"] == "${optim.lr}"
    assert changelog.edits == []
    keys = files.read_mapping(run.run)["keys"]
    assert Key.from_dict(keys["optim.lr"]) == Key("float")
    assert Key.from_dict(keys["model.depth"]).locked == "locked by trainctl.controls"


def test_run_dir_of_another_config_is_not_overwritten(open_live: OpenLive, run: RunDir, end_run: EndRun) -> None:
    open_live(n=1)
    end_run()
    before = run.changelog.read_text()
    with pytest.raises(DriftError, match=r"\(n: recorded 1, now 2\); a run dir holds one run: choose another"):
        open_live(n=2)
    assert run.changelog.read_text() == before
    assert attempt.current() is None


def test_second_attempt_repeats_own_edits_without_recording_them_again(
    open_live: OpenLive, run: RunDir, answered: Answered, end_run: EndRun
) -> None:
    session = open_live(config())
    event = answered(session, file_request(run, {"n": "5"}, via="cli", note="why"))
    end_run()
    before, told = run.changelog.read_text(), answers(run)
    cfg = config()
    session = open_live(cfg)
    values = []
    for _ in range(event.step or 0):
        values.append(cfg.n)
        session.step()
    assert values == [1] * (event.step or 0)
    assert (cfg.n, session.now.n) == (5, 5)
    assert run.changelog.read_text() == before
    assert answers(run) == told
    answered(session, file_request(run, {"n": "6"}, via="cli"))
    assert re.search(r"^\d+: +# \d\d:\d\d:\d\d cli \w+: why \[edit 1: \S+\]$", run.changelog.read_text(), re.MULTILINE)
    assert [edit.values for edit in loads(run.changelog.read_text()).edits] == [{"n": 5}, {"n": 6}]


def test_replay_of_something_else_is_refused_before_anything_is_written(
    open_live: OpenLive, run: RunDir, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("n: 1\n")
    with pytest.raises(
        ChangelogError, match=r"trainctl\.replay='.*config\.yaml': .* is not a changelog: 'n' is not a step"
    ):
        open_live(n=1, trainctl={"replay": str(tmp_path / "config.yaml")})
    assert not run.changelog.exists()


def test_second_attempt_and_replay_have_the_values_that_were_drawn_first(
    open_live: OpenLive, run: RunDir, end_run: EndRun, tmp_path: Path
) -> None:
    OmegaConf.register_new_resolver("drawn_by_test", lambda: secrets.token_hex(8))
    try:
        first = open_live(day="${now_of_test}", now_of_test="${drawn_by_test:}", n=1)
        end_run()
        second = open_live(day="${now_of_test}", now_of_test="${drawn_by_test:}", n=1)
        assert second.config.day == first.config.day
        end_run()
        again = live(
            OmegaConf.create({
                "day": "${now_of_test}", "now_of_test": "${drawn_by_test:}", "n": 1,
                "trainctl": {"replay": str(run.path)},
            }),
            run_dir=tmp_path / "replay",
        )  # fmt: skip
        recorded = loads(run.changelog.read_bytes()).base["now_of_test"]
        assert [again.config.now_of_test, again.config.day] == [first.config.now_of_test, recorded] == [recorded] * 2
    finally:
        OmegaConf.clear_resolver("drawn_by_test")


def test_time_and_place_of_a_run_are_no_drift_in_a_replay(open_live: OpenLive, tmp_path: Path) -> None:
    recorded = tmp_path / "recorded.yaml"
    recorded.write_text("0: {day: '01', dir: /somewhere/else, n: 1}\n1: {n: 2}\n")
    session = open_live(day="${now:%d}", dir="${hydra:runtime.output_dir}", n=1, trainctl={"replay": str(recorded)})
    session.step()
    assert session.now.n == 2
