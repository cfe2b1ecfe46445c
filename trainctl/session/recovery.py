"""Requests that an earlier attempt left without an answer: each gets one now."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Container
from pathlib import Path
from typing import Any

from trainctl.config.changelog import Changelog
from trainctl.rundir import events
from trainctl.rundir.events import Answers, Event, remove
from trainctl.rundir.inbox import list_inbox
from trainctl.rundir.paths import RunDir
from trainctl.rundir.request import Request, request_id

RUN_ENDED = "the run ended"


def reject(request: Request, answers: Answers, reason: str) -> None:
    """Answer a request that was taken and will not be applied any more."""
    answers.give(Event.about(request, "rejected", reason=reason), request.source)


def recover(run: RunDir, changelog: Changelog, left: Container[str]) -> set[str]:
    """Answer what was left: a request that was being applied and is in the changelog was applied, all others rejected.

    Args:
        run: whose requests.
        changelog: what the earlier attempts recorded.
        left: names of files that lay in the inbox when this attempt began; not times, since a clock may be set back.

    Returns:
        The ids of all requests that have an answer; they must not be taken again.
    """
    answers = Answers(run)
    known = events.latest(events.read_events(run))
    waiting = _waiting(run)
    for request, event in known.items():
        source = waiting.get(request)
        if event.is_final:
            if source is not None:
                remove(source)
        elif _was_recorded(event, changelog):
            answers.give(dataclasses.replace(event, state="applied", t=time.time()), source)
        else:
            answers.give(_ended(event), source)
    answered = set(known)
    for request, source in waiting.items():
        if request not in known and source.name in left:
            answers.give(_ended(Event(request, "pending")), source)
            answered.add(request)
    return answered


def _ended(event: Event) -> Event:
    return dataclasses.replace(event, state="rejected", step=None, reason=RUN_ENDED, t=time.time())


def _waiting(run: RunDir) -> dict[str, Path]:
    found = {}
    for path in list_inbox(run):
        with contextlib.suppress(OSError):  # taken back by who filed it
            found[request_id(path)] = path
    return found


def _was_recorded(event: Event, changelog: Changelog) -> bool:
    """Say whether a request that was being applied reached the changelog (which is written before it takes effect)."""
    if event.state != "applying" or not event.edits:
        return False
    recorded: dict[str, Any] = {}
    for edit in changelog.edits:
        if edit.step == event.step:
            recorded |= edit.values
    return all(key in recorded and _as_json(recorded[key]) == _as_json(value) for key, value in event.edits.items())


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))
