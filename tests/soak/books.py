"""The books after a soak: each request answered once, each run completed once, each replay with the same hash."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

from trainctl.rundir.edits import read_changelog
from trainctl.rundir.events import read_events
from trainctl.rundir.inbox import list_inbox
from trainctl.rundir.paths import RunDir
from trainctl.rundir.result import read_result
from trainctl.rundir.status import state_of


def check_requests(run: RunDir, asked: list[str]) -> Counter[str]:
    """Check that each request has one answer, and that the changelog has those that were applied, once each.

    What was put into the inbox of a run that had ended meanwhile lies there still: nobody was there to answer.
    """
    events = read_events(run)
    finals = Counter(event.id for event in events if event.is_final)
    left = {path.stem for path in list_inbox(run)}
    twice = {request: count for request, count in finals.items() if count > 1}
    assert not twice, f"{run.path}: answered more than once: {twice}"
    unanswered = [request for request in asked if request not in finals and request not in left]
    assert not unanswered, f"{run.path}: neither answered nor in the inbox: {unanswered}"
    both = left & finals.keys()
    assert not both, f"{run.path}: answered, and still in the inbox: {both}"
    changelog = read_changelog(run)
    assert changelog is not None
    recorded = Counter(part.id for edit in changelog.edits for part in edit.each)
    assert max(recorded.values(), default=1) == 1, f"{run.path}: recorded twice: {recorded}"
    applied = {event.id for event in events if event.state == "applied"}
    assert applied == set(recorded), f"{run.path}: answers and changelog differ: {applied ^ set(recorded)}"
    states = Counter(event.state for event in events if event.is_final)
    of_page = {event.id for event in events if event.via == "panel" and event.is_final}
    return Counter({f"requests {state}": number for state, number in states.items()}) + Counter(
        {"requests after the end": len(left), "requests of the page answered": len(of_page)}
    )


def check_completed(run: RunDir) -> str:
    """Check that a run is complete, and return its hash."""
    assert state_of(run) == "done", f"{run.path} is {state_of(run)}"
    value = read_result(run)
    assert isinstance(value, str), f"{run.path}: {value!r}"
    assert len(value) == 64
    return value


def check_replay(run: RunDir) -> None:
    """Replay a run from its record alone: every logged number and the hash of the weights must be the same."""
    command = [sys.executable, "-m", "trainctl", "replay", str(run.path), "--verify", "pause_s=0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    assert f"return value {read_result(run)}" in done.stdout, done.stdout
