"""What was asked of a run from one page, and what became of it: applied, rejected, or what it waits for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trainctl.errors import TrainctlError
from trainctl.panel.auth.rate_limit import Bucket
from trainctl.panel.data.run_view import RunView
from trainctl.panel.html import html
from trainctl.panel.pages.session import who_asks
from trainctl.rundir.events import LOOKS, Event, latest
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir

MAX_SHOWN = 6
MOST_AT_ONCE, MOST_PER_S = 30, 3
READ_ONLY = "this link only shows; ask with the other one"


@dataclass(slots=True)
class SentRequest:
    """One request. `texts` are the fields' texts that it was made of; `answer` and `kind` are what a person reads."""

    request: str | None
    label: str
    texts: dict[str, str] = field(default_factory=dict)
    at: int | None = None
    answer: str = ""
    kind: str = "dim"
    is_over: bool = False
    is_applied: bool = False
    waits: bool = False


def turns() -> Bucket:
    """Return how often one page may ask one run."""
    return Bucket(MOST_AT_ONCE, MOST_PER_S)


class Asking:
    """The one door from a page to a run's inbox; whoever may only look is turned away here.

    Args:
        allowance: how often the page may ask this run, where it goes on from an earlier `Asking`.
    """

    def __init__(self, *, may_ask: bool, allowance: Bucket | None = None) -> None:
        self.may_ask = may_ask
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
        asked = SentRequest(None, label, texts, at)
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

    def settle(self, view: RunView) -> list[SentRequest]:
        """Take over what the run says; return the requests that are over or wait since the last call."""
        told = latest(view.events)
        changed = []
        for asked in self._asked:
            if asked.is_over or asked.request is None:
                continue
            before = asked.answer
            _follow(asked, told.get(asked.request), view)
            if asked.answer != before:
                changed.append(asked)
        return changed

    def clear(self) -> None:
        """Forget what is over."""
        self._asked = [one for one in self._asked if not one.is_over]

    def lines(self) -> str:
        """Write the latest answers as HTML."""
        return "".join(
            f'<div role="status" class="{one.kind}"><b class="mono">{html(one.label)}</b> {html(one.answer)}</div>'
            for one in self._asked[-MAX_SHOWN:]
        )

    def notice(self, view: RunView) -> str:
        """Say as HTML why values cannot be changed; nothing when they can."""
        if view.problem is not None:
            reason = view.problem
        elif view.is_shut and view.row.summary.state == "running":
            reason = f"Read only: {view.row.summary.run.inbox} is not to be written by the user of this page's server."
        elif not view.is_editable:
            reason = f"This run is not running ({view.row.summary.state}): its values can be read, not changed."
        else:
            reason = "" if self.may_ask else f"Read only: {READ_ONLY}."
        return f'<div class="dim">{html(reason)}</div>' if reason else ""

    def _refusal(self, view: RunView) -> str | None:
        if not self.may_ask:
            return READ_ONLY
        if view.is_shut:
            return "the run's inbox is not to be written by the user of this page's server"
        if view.row.summary.state != "running":
            return "the run is not running"
        return None if self._turns.take() else "too many requests from this page; wait a moment"


def _follow(asked: SentRequest, event: Event | None, view: RunView) -> None:
    if event is not None and event.is_final:
        if event.state == "applied":
            asked.is_applied = True
            _over(asked, f"{'asked' if event.action in LOOKS else 'applied'} at step {event.step}", "ok")
        else:
            _over(asked, f"rejected: {event.reason}", "bad")
    elif view.row.summary.state != "running":
        _over(asked, "not answered: the run is not running any more", "bad")
    elif waited := waits_for(asked, event, view):
        asked.waits, asked.answer = True, f"waiting: {waited}"
    elif asked.waits:
        asked.waits, asked.answer = False, "waiting for the run to take it at its next step"


def waits_for(asked: SentRequest, event: Event | None, view: RunView) -> str:
    """Say what a request waits for besides the next step; nothing when it does not."""
    if asked.at is not None and event is not None:
        return f"the run is paused (for step {asked.at})" if view.row.summary.paused else f"for step {asked.at}"
    keys = [view.keys[key] for key in asked.texts if key in view.keys]
    if event is not None and any(key.when == "epoch" for key in keys):
        return "for the next epoch"
    if event is not None and any(key.checkpoint_first for key in keys):
        return "for a checkpoint to be taken first"
    return "the run is paused" if view.row.summary.paused else ""


def _over(asked: SentRequest, answer: str, kind: str) -> SentRequest:
    asked.answer, asked.kind, asked.is_over, asked.waits = answer, kind, True, False
    return asked
