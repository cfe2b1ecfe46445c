"""The requests of one page to a run and their outcome: applied, rejected, or what each waits for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trainctl.errors import TrainctlError
from trainctl.panel.data.run_view import RunView
from trainctl.panel.html import html
from trainctl.panel.pages.session import who_asks
from trainctl.panel.server.limits import Bucket
from trainctl.rundir.edits import reading
from trainctl.rundir.events import LOOKS, Event, latest
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir
from trainctl.rundir.waiting import NEXT_STEP, WaitingRequest, waiting
from trainctl.text import count

MAX_SHOWN = 6
MOST_AT_ONCE, MOST_PER_S = 30, 3
READ_ONLY = "this link only shows; ask with the other one"
DONE = {"checkpoint": "taken", "evaluate": "evaluated", "stop": "stopped", "pause": "paused", "resume": "resumed"}


@dataclass(slots=True)
class SentRequest:
    """One request. `texts` are the fields' texts that it was made of; `answer` and `kind` are what a person reads.

    Attributes:
        is_over: it has taken effect, or will not.
        is_told: nothing more will be known of it.
    """

    request: str | None
    label: str
    texts: dict[str, str] = field(default_factory=dict)
    action: str | None = None
    answer: str = ""
    kind: str = "dim"
    is_over: bool = False
    is_applied: bool = False
    is_told: bool = False
    waits: bool = False


def turns() -> Bucket:
    """Return how often one page may ask one run."""
    return Bucket(MOST_AT_ONCE, MOST_PER_S)


class Asking:
    """The only way from a page to a run's inbox; a reader's requests are refused here.

    Args:
        tells_actions: whether `lines` tells what has come of an action; where its button does that, it need not.
        allowance: how often the page may ask this run, where it goes on from an earlier `Asking`.
    """

    def __init__(self, *, may_ask: bool, tells_actions: bool = True, allowance: Bucket | None = None) -> None:
        self.may_ask = may_ask
        self._tells_actions = tells_actions
        self._who = who_asks()
        self._asked: list[SentRequest] = []
        self._turns = allowance or turns()

    @property
    def is_unheard(self) -> bool:
        """Whether the run has not yet taken up what was last asked."""
        return any(not one.is_over and not one.waits for one in self._asked)

    def ask(
        self, view: RunView, label: str, *, texts: dict[str, str] | None = None, at: int | None = None, **what: Any
    ) -> SentRequest:
        """File a request; `what` is as for `file_request`. That it could not be filed is its answer."""
        texts = dict(texts) if texts is not None else {}
        asked = SentRequest(None, label, texts, what.get("action"))
        self._asked.append(asked)
        if refusal := self._refusal(view):
            return _over(asked, f"rejected: {refusal}", "bad")
        try:
            run: RunDir = view.row.summary.run
            asked.request = file_request(run, texts, who=self._who, via="panel", at=at, **what)
        except TrainctlError as error:
            return _over(asked, f"rejected: {error}", "bad")
        asked.answer = "sent: waiting for the run to take it at its next step"
        return asked

    def refuse(self, label: str, reason: str) -> None:
        """Answer a click that cannot be carried out: none is ignored silently."""
        self._asked.append(_over(SentRequest(None, label), f"not asked: {reason}", "bad"))

    def settle(self, view: RunView) -> list[SentRequest]:
        """Take in the run's answers; return the requests that have ended or begun to wait since the last call."""
        told = latest(view.events)
        numbers = {one.event.id: one for one in waiting(view.events)}
        changed = []
        for asked in self._asked:
            if asked.is_told or asked.request is None:
                continue
            before = asked.is_over, asked.waits
            _follow(asked, told.get(asked.request), numbers.get(asked.request), view)
            if (asked.is_over, asked.waits) != before:
                changed.append(asked)
        return changed

    def clear(self) -> None:
        """Forget the requests of which no more will be known."""
        self._asked = [one for one in self._asked if not one.is_told]

    def lines(self) -> str:
        """Write the latest answers as HTML."""
        shown = [one for one in self._asked if self._tells_actions or not (one.is_applied and one.action in LOOKS)]
        return "".join(
            f'<div role="status" class="{one.kind}"><b class="mono">{html(one.label)}</b> {html(one.answer)}</div>'
            for one in shown[-MAX_SHOWN:]
        )

    def notice(self, view: RunView) -> str:
        """Say as HTML why values cannot be changed; nothing when they can."""
        if view.problem is not None:
            reason = view.problem
        elif view.row.summary.is_alive and view.refusal is not None:
            reason = f"Read only: {view.refusal}."
        elif view.is_shut and view.row.summary.is_alive:
            reason = f"Read only: {view.row.summary.run.inbox} cannot be written by the user of this page's server."
        elif not view.is_editable:
            reason = f"This run is not running ({view.row.summary.state}): its values can be read, not changed."
        else:
            reason = "" if self.may_ask else f"Read only: {READ_ONLY}."
        return f'<div class="dim">{html(reason)}</div>' if reason else ""

    def _refusal(self, view: RunView) -> str | None:
        if not self.may_ask:
            return READ_ONLY
        if view.is_shut:
            return "the run's inbox cannot be written by the user of this page's server"
        if not view.row.summary.is_alive:
            return "the run is not running"
        return None if self._turns.take() else "too many requests from this page; wait a moment"


def _follow(asked: SentRequest, event: Event | None, held: WaitingRequest | None, view: RunView) -> None:
    if event is not None and event.is_final:
        asked.is_applied = event.state == "applied"
        _over(asked, *outcome_of(event))
        asked.is_told = not (asked.is_applied and view.row.summary.is_alive and _is_followed(event))
    elif not view.row.summary.is_alive:
        _over(asked, "not answered: the run is not running any more", "bad")
    elif held is not None and (until := waits_for(held, view)):
        asked.waits, asked.answer = True, f"waiting: {until} (request {held.number})"
    elif asked.waits:
        asked.waits, asked.answer = False, "waiting for the run to take it at its next step"


def outcome_of(event: Event) -> tuple[str, str]:
    """Describe the outcome of an answered request, and give its colour.

    >>> outcome_of(Event("1", "applied", 152954, action="checkpoint"))
    ('asked at step 152,954', 'ok')
    >>> outcome_of(Event("1", "applied", 152954, action="checkpoint", done=152960))
    ('taken at step 152,960', 'ok')
    >>> outcome_of(Event("1", "applied", 8, edits={"lr": 0.1}, read={"lr": 8}))
    ('applied at step 8, read at step 8', 'ok')
    """
    step = count(event.step)
    if event.is_cancelled:
        return str(event.reason), "dim"
    if event.state == "rejected":
        return f"rejected: {event.reason}", "bad"
    if event.cancel is not None:
        return f"done at step {step}", "ok"
    if event.action in LOOKS:
        if event.done is not None:
            return f"{DONE[event.action]} at step {count(event.done)}", "ok"
        return (f"asked at step {step}", "ok") if not event.settled else (f"not done: {event.reason}", "unread")
    if event.action is not None:
        return f"{DONE.get(event.action, 'done')} at step {step}", "ok"
    read = _reading(event)
    kind = "unread" if None in (event.read or {}).values() else "ok"
    return f"applied at step {step}" + (f", {read}" if read else ""), kind


def _reading(event: Event) -> str | None:
    steps = set((event.read or {}).values())
    if len(steps) == 1 and (step := steps.pop()) is not None:
        return f"read at step {count(step)}"
    return reading(event.read, event.watched)


def _is_followed(event: Event) -> bool:
    """Whether more will be known of a taken request: who read an edit, what the loop did."""
    if event.action is not None:
        return event.action in LOOKS and not event.settled
    return event.cancel is None and event.read is None


def waits_for(held: WaitingRequest, view: RunView) -> str:
    """Say what a request waits for besides the next step; nothing when it does not."""
    until = held.until(view.keys)
    if view.row.summary.paused:
        return "the run is paused" if until == NEXT_STEP else f"the run is paused ({until})"
    return "" if until == NEXT_STEP else until


def _over(asked: SentRequest, answer: str, kind: str) -> SentRequest:
    asked.answer, asked.kind, asked.is_over, asked.waits, asked.is_told = answer, kind, True, False, True
    return asked
