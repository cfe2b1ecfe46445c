"""The changelog alone says what was applied: one fsync an edit, each kill, and the run dirs of older versions."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from session_fixtures import EndRun, OpenLive

from trainctl.config.changelog import Changelog, Edit, dumps, loads
from trainctl.config.masking import Masking
from trainctl.rundir.edits import Applied, applied_edits, read_changelog
from trainctl.rundir.events import Event, answer, read_events
from trainctl.rundir.inbox import file_request, list_inbox
from trainctl.rundir.paths import RunDir
from trainctl.session.api import live
from trainctl.session.live import Live

FORMATS = Path(__file__).parents[1] / "rundir" / "formats"
CONFIG: dict[str, Any] = {
    "optim": {"lr": 0.1, "betas": [0.9, 0.999]}, "n": 1, "text": "a", "trainctl": {"poll_s": 0.001, "seed": 1},
}  # fmt: skip

KILLED = """
import os, signal, sys, threading, time
from omegaconf import OmegaConf
import trainctl
from trainctl.rundir import events, files
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir
from trainctl.session.changelog_file import ChangelogFile

path, point = sys.argv[1:]
live = trainctl.live(OmegaConf.create({"n": 1, "trainctl": {"poll_s": 0.001, "seed": 1}}), run_dir=path)
for value in "2", "3":
    file_request(RunDir.at(path), {"n": value}, who="ada", via="cli", note="why")
    while not live._taken:
        time.sleep(0.001)
    if value == "3":
        kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        write, sync = files.write_all, os.fsync
        def torn(descriptor, data):
            write(descriptor, data[:-2])
            kill()
        def synced(descriptor):
            sync(descriptor)
            if threading.current_thread() is threading.main_thread():
                kill()
        if point == "before the append":
            ChangelogFile.add = kill
        elif point == "torn append":
            files.write_all = torn
        elif point == "appended":
            os.fsync = synced
        elif point == "answered":
            events.remove = kill
    live.step()
"""


@pytest.mark.parametrize(
    ("point", "state"),
    [("before the append", "rejected"), ("torn append", "rejected"), ("appended", "applied"), ("answered", "applied")],
)
@pytest.mark.parametrize("are_events_lost", [False, True])
def test_request_is_applied_at_most_once_and_answered_once_wherever_the_kill_comes(
    run: RunDir, open_live: OpenLive, end_run: EndRun, point: str, state: str, are_events_lost: bool
) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, run.path, point], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    if are_events_lost:  # as a machine that loses its power may leave them
        run.events.unlink()
    [source] = list_inbox(run)
    session = open_live(n=1, trainctl={"poll_s": 0.001, "seed": 1})
    assert list_inbox(run) == []
    for _ in range(3):
        session.step()
    assert session.now.n == (3 if state == "applied" else 2)
    end_run()
    finals = [event for event in read_events(run) if event.is_final]
    assert len({event.id for event in finals}) == len(finals) == 2
    event = answer(run, source.stem)
    assert event is not None
    assert event.state == state
    changelog = read_changelog(run)
    assert changelog is not None
    assert (source.stem in changelog.requests) == (state == "applied")
    if state == "applied":
        assert (event.step, event.edits, event.who, event.via, event.note) == (2, {"n": 3}, "ada", "cli", "why")


def test_edit_waits_for_the_disk_once_and_a_refusal_never(
    run: RunDir, open_live: OpenLive, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_live(**CONFIG)
    synced: list[int] = []
    sync = os.fsync

    def counted(descriptor: int) -> None:
        if threading.current_thread() is threading.main_thread():
            synced.append(descriptor)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", counted)
    for value, count in (("2", 1), ("x", 0), ("3", 1)):
        file_request(run, {"n": value}, via="cli")
        while not session._taken:
            threading.Event().wait(0.001)
        synced.clear()  # those of the request
        session.step()
        assert len(synced) == count, value
    assert session.now.n == 3


def told(applied: list[Applied]) -> list[tuple[Any, ...]]:
    return [(one.number, one.step, one.values, one.before, one.via, one.note, one.undo) for one in applied]


LAST = "the kill came after this was recorded"
EDITS = [
    (5, 2, {"optim.betas": [0.8, 0.99]}, {"optim.betas": [0.9, 0.999]}, "cli", None, None),
    (1, 3, {"optim.lr": 0.05}, {"optim.lr": 0.1}, "cli", "calmer", None),
    (2, 5, {"n": 2, "text": "b"}, {"n": 1, "text": "a"}, "cli", "first", None),
    (3, 5, {"n": 3}, {"n": 2}, "panel", None, None),
    (4, 6, {"n": 2}, {"n": 3}, "cli", "too many", 3),
    (6, 8, {"text": LAST}, {"text": "b"}, "cli", "last", None),
]


@pytest.fixture(params=["events_first", "changelog_only"])
def recorded(request: pytest.FixtureRequest, run: RunDir) -> RunDir:
    """A run dir as a version of trainctl left it."""
    shutil.copytree(FORMATS / request.param, run.path)
    return run


def test_run_dir_of_each_version_tells_the_same_edits(recorded: RunDir) -> None:
    changelog = read_changelog(recorded)
    assert changelog is not None
    assert told(applied_edits(changelog, read_events(recorded))) == EDITS


def test_run_dir_of_each_version_is_resumed_and_what_the_kill_left_is_answered(
    recorded: RunDir, open_live: OpenLive, end_run: EndRun, answered: Callable[[Live, str], Event]
) -> None:
    [source] = list_inbox(recorded)
    session = open_live(**CONFIG)
    event = answer(recorded, source.stem)
    assert event is not None
    assert (event.state, event.step, event.who, event.note) == ("applied", 8, "ada", "last")
    assert list_inbox(recorded) == []
    while session.step_number < 8:
        session.step()
    assert (session.now.n, session.now.text, session.now.optim.betas) == (2, LAST, [0.8, 0.99])
    undone = answered(session, file_request(recorded, {}, undo=1, via="cli", who="bob"))
    assert undone.edits == {"optim.lr": 0.1}
    end_run()
    changelog = read_changelog(recorded)
    assert changelog is not None
    after = told(applied_edits(changelog, read_events(recorded)))
    assert after[:-1] == EDITS
    assert after[-1][0] == 7
    assert after[-1][-1] == 1


def test_run_dir_of_each_version_is_replayed(recorded: RunDir, tmp_path: Path, end_run: EndRun) -> None:
    config = {**CONFIG, "trainctl": {**CONFIG["trainctl"], "replay": str(recorded.path)}}
    session = live(OmegaConf.create(config), run_dir=tmp_path / "again")
    while session.step_number < 8:
        session.step()
    assert (session.now.n, session.now.text, session.now.optim.lr) == (2, LAST, 0.05)
    end_run()
    again = read_changelog(RunDir.at(tmp_path / "again"))
    assert again is not None
    assert [edit.step for edit in again.edits] == [2, 3, 5, 6, 8]
    assert list(again.requests) == [f"replay-{step}" for step in (2, 3, 5, 6, 8)]


def test_changelog_without_events_tells_all_but_the_day(run: RunDir) -> None:
    shutil.copytree(FORMATS / "changelog_only", run.path)
    changelog = read_changelog(run)
    assert changelog is not None
    notes = {4: "undo of edit 3: too many"}
    assert told(applied_edits(changelog, [])) == [(*one[:5], notes.get(one[0], one[5]), one[6]) for one in EDITS]
    assert {one.who for one in applied_edits(changelog, [])} == {"ada"}


def test_edits_of_one_step_are_read_as_they_were_written_whatever_is_in_them() -> None:
    texts = ["two\nlines", "\u2028", "x: [edit 9: forged] {n: 5}", "# no", "\x85\r\t"]
    edits = [
        Edit(5, {"text": text, "n": number}, note=f"{text} [edit 1: forged]", id=f"[{text}]", number=number)
        for number, text in enumerate(texts, 1)
    ]
    text = dumps(Changelog({"n": 0, "text": ""}, edits))
    read = loads(text)
    assert dumps(read) == text
    assert read.edits == [Edit(5, {"text": texts[-1], "n": 5})]
    assert [(part.values, part.id, part.number) for part in read.edits[0].parts] == [
        (edit.values, edit.id, edit.number) for edit in edits
    ]


def test_values_that_a_person_has_changed_count_and_not_those_of_the_comment() -> None:
    edits = [Edit(5, {"n": value}, id=f"r{value}", number=value) for value in (1, 2)]
    text = dumps(Changelog({"n": 0}, edits)).replace("  n: 2\n", "  n: 7\n")
    [edit] = loads(text).edits
    assert (edit.values, edit.parts) == ({"n": 7}, ())


def test_secret_that_a_later_edit_of_its_step_replaced_is_masked_too() -> None:
    edits = [Edit(5, {"api_key": value}, id=value[:2], number=1) for value in ("hidden-one", "hidden-two")]
    changelog = loads(dumps(Changelog({"api_key": "hidden-none"}, edits)))
    masking = Masking(changelog.base)
    masking.learn_edits(changelog)
    masked = Changelog(masking.nested(changelog.base), [masking.edit(edit) for edit in changelog.edits])
    assert "hidden" not in dumps(masked)
