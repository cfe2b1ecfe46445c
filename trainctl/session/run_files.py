"""Opening the files that a session writes, and answering the requests that earlier attempts left."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trainctl.attempt.attempt import Attempt
from trainctl.config.changelog import Changelog
from trainctl.config.controls import Key
from trainctl.errors import RunDirError
from trainctl.rundir import files
from trainctl.rundir.edits import Applied, applied_edits
from trainctl.rundir.events import RUN_ENDED, Answers, Event, latest, read_events, remove
from trainctl.rundir.inbox import list_inbox
from trainctl.rundir.metrics import MetricLog
from trainctl.rundir.paths import RunDir
from trainctl.rundir.request import request_id, step_of
from trainctl.session.actions import Actions
from trainctl.session.changelog_file import ChangelogFile


@dataclass(frozen=True, slots=True)
class SessionFiles:
    """What a session writes.

    Attributes:
        record: the changelog.
        seen: the ids of requests that have an answer.
    """

    record: ChangelogFile
    answers: Answers
    metrics: MetricLog
    seen: set[str]


def open_files(attempt: Attempt, own: Changelog, keys: Mapping[str, Key], facts: Mapping[str, object]) -> SessionFiles:
    """Open the files of an attempt, write what page and command line need, and answer requests of earlier attempts.

    Args:
        attempt: the owner of the files.
        own: the changelog of the run until now.
        keys: how each key may be edited.
        facts: further entries of `run.yaml`.

    Raises:
        RunDirError: one of them cannot be read or written.
    """
    run = attempt.run
    said = read_events(run)
    record = ChangelogFile(run.changelog, own, applied_edits(own, said))
    try:
        metrics = MetricLog(run.metrics, is_further=run.metrics.exists() and run.metrics.stat().st_size > 0)
        if record.has_rest or not os.path.lexists(run.changelog):
            record.write()
        for path in (run.events, run.metrics):
            os.close(files.open_to_write(path, os.O_WRONLY | os.O_CREAT))  # an empty file says that nothing was asked
        told = {"keys": {name: key.to_dict() for name, key in keys.items()}, "actions": Actions().to_dict()}
        attempt.update_run_yaml(**told, **facts)
        seen = recover(run, record.applied, latest(said), attempt.left)
    except OSError as error:
        raise RunDirError(f"the run dir {str(run.path)!r} cannot be written: {error.strerror or error}") from error
    return SessionFiles(record, Answers(run), metrics, seen)


def recover(run: RunDir, applied: Iterable[Applied], known: Mapping[str, Event], left: Container[str]) -> set[str]:
    """Answer requests of earlier attempts: those in the changelog were applied, those for a step may still come.

    All others are rejected. This restores lines of `events.jsonl` that were lost by a kill or a power failure.

    Args:
        run: whose requests.
        applied: the edits in the changelog of the earlier attempts.
        known: the last event of each request.
        left: names of files that lay in the inbox when this attempt began; not times, since a clock may be set back.

    Returns:
        The ids of all answered requests, which must not be taken again.
    """
    answers = Answers(run)
    recorded = {one.request: one for one in applied if one.request is not None}
    waiting = _waiting(run)
    untaken = {request: source for request, source in waiting.items() if source.name in left}
    answered = set()
    for request in {**known, **recorded, **untaken}:
        event, one, source = known.get(request), recorded.get(request), waiting.get(request)
        if event is not None and event.is_final:
            if source is not None:
                remove(source)
        elif one is not None:
            answers.give(_applied(request, event, one), source)
        elif source is not None and step_of(source) is not None:
            continue  # it still waits
        else:
            answers.give(_ended(event or Event(request, "pending")), source)
        answered.add(request)
    return answered


def _applied(request: str, said: Event | None, one: Applied) -> Event:
    event = said or Event(request, "pending", who=one.who, via=one.via, note=one.note)
    return dataclasses.replace(event, state="applied", step=one.step, edits=one.values, undo=one.undo, t=time.time())


def _ended(event: Event) -> Event:
    return dataclasses.replace(event, state="rejected", step=None, reason=RUN_ENDED, t=time.time())


def _waiting(run: RunDir) -> dict[str, Path]:
    found = {}
    for path in list_inbox(run):
        with contextlib.suppress(OSError):  # withdrawn by the user who filed it
            found[request_id(path)] = path
    return found
