from __future__ import annotations

from pathlib import Path

import pytest

from trainctl.config.changelog import Changelog, Edit
from trainctl.errors import ChangelogError
from trainctl.session.schedule import NEVER, plan, read_replay


def test_schedule_gives_each_edit_once_at_its_step_replayed_ones_first() -> None:
    own = Changelog({}, [Edit(5, {"a": 1}), Edit(9, {"b": 1})])
    replay = Changelog({}, [Edit(5, {"b": 2}), Edit(7, {"a": 3})])
    schedule = plan(own, "own", replay, "replay")
    assert schedule.next_step == 5
    assert schedule.take(4) == []
    assert [(one.edit.values, one.source) for one in schedule.take(5)] == [({"b": 2}, "replay"), ({"a": 1}, "own")]
    assert schedule.next_step == 7
    assert [one.step for one in schedule.left] == [7, 9]
    assert [one.step for one in schedule.take(100)] == [7, 9]
    assert schedule.next_step == NEVER


def test_replayed_edit_that_an_earlier_attempt_recorded_is_not_applied_twice() -> None:
    own = Changelog({}, [Edit(5, {"a": 9, "b": 2, "live": 1})])
    replay = Changelog({}, [Edit(5, {"a": 1, "b": 2}), Edit(6, {"a": 2})])
    assert [(one.step, one.is_recorded) for one in plan(own, "own", replay, "replay").left] == [(5, True), (6, False)]


def test_edit_after_more_steps_than_are_counted_fast_is_due_all_the_same() -> None:
    far = NEVER + 10
    schedule = plan(Changelog({}, [Edit(5, {"a": 1}), Edit(far, {"a": 2})]), "own", None, "")
    assert [one.step for one in schedule.take(5)] == [5]
    assert schedule.next_step <= far  # from there on it is asked at each step
    assert schedule.take(far - 1) == []
    assert [one.step for one in schedule.take(far)] == [far]


def test_replay_is_a_run_dir_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "changelog.yaml").write_text("0: {a: 1}\n3: {a: 2}\n")
    assert read_replay(tmp_path) == read_replay(tmp_path / "changelog.yaml")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "there is no '.*'; give a run dir or a changelog file"),
        (b"\xff\xfe", "is not a changelog: it is not UTF-8 text"),
        (b"lr: 0.1", "is not a changelog: 'lr' is not a step"),
        (b"0: {a: [", "is not a changelog: it is not YAML"),
    ],
)
def test_replay_of_no_changelog_is_refused_by_name(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ChangelogError, match=rf"^trainctl\.replay='.*config\.yaml': .*{reason}"):
        read_replay(path)
