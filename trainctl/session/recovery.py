"""Requests that an earlier attempt left without an answer: each gets one now."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

from trainctl.rundir.edits import Applied
from trainctl.rundir.events import RUN_ENDED, Answers, Event, remove
from trainctl.rundir.inbox import list_inbox
from trainctl.rundir.paths import RunDir
from trainctl.rundir.request import Request, request_id


def reject(request: Request, answers: Answers, reason: str) -> None:
    """Answer a request that was taken and will not be applied any more."""
    answers.give(Event.about(request, "rejected", reason=reason), request.source)


def recover(run: RunDir, applied: Iterable[Applied], known: Mapping[str, Event], left: Container[str]) -> set[str]:
    """Answer what was left: a request that the changelog names was applied, all others are rejected.

    So `events.jsonl` says again what a kill, or a machine that lost its power, has kept from it.

    Args:
        run: whose requests.
        applied: what the changelog of the earlier attempts tells.
        known: the last event of each request.
        left: names of files that lay in the inbox when this attempt began; not times, since a clock may be set back.

    Returns:
        The ids of all requests that have an answer; they must not be taken again.
    """
    answers = Answers(run)
    recorded = {one.request: one for one in applied if one.request is not None}
    waiting = _waiting(run)
    for request in {**known, **recorded}:
        event, one, source = known.get(request), recorded.get(request), waiting.get(request)
        if event is not None and event.is_final:
            if source is not None:
                remove(source)
        elif one is not None:
            answers.give(_applied(request, event, one), source)
        elif event is not None:
            answers.give(_ended(event), source)
    answered = {*known, *recorded}
    for request, source in waiting.items():
        if request not in answered and source.name in left:
            answers.give(_ended(Event(request, "pending")), source)
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
        with contextlib.suppress(OSError):  # taken back by who filed it
            found[request_id(path)] = path
    return found
