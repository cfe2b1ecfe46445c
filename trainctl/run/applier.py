"""Edits taking effect at a step: check, record, change, tell. The only place where a running config changes."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import DictConfig

from trainctl.config.assign import assign, fitted
from trainctl.config.changelog import Edit
from trainctl.config.controls import Key
from trainctl.config.edit import check_recorded, parse_edits
from trainctl.errors import EditError, RunDirError
from trainctl.run import events
from trainctl.run.answers import Answers
from trainctl.run.events import Event
from trainctl.run.now import Now, build
from trainctl.run.record import Record
from trainctl.run.recovery import reject
from trainctl.run.request import Request
from trainctl.run.rundir import RunDir
from trainctl.run.schedule import Scheduled

log = logging.getLogger(__name__)

Hook = Callable[[Edit], object]


class Applier:
    """Applies requests and scheduled edits to one config. Runs in the training thread, inside `live.step()`."""

    def __init__(
        self, run: RunDir, config: DictConfig, keys: Mapping[str, Key], record: Record, answers: Answers
    ) -> None:
        self._run = run
        self._config = config
        self._keys = keys
        self._record = record
        self._answers = answers
        self.hooks: list[Hook] = []
        self.now: Now = build(config)

    def request(self, step: int, request: Request) -> None:
        """Apply a request at the start of `step`, all its edits or none; whoever asked is told, and training goes on.

        Raises:
            Exception: what a hook of the user raised; the edit is recorded and in effect then.
        """
        try:
            values = self._fitted(parse_edits(request.edits, self._keys))
        except EditError as error:
            reject(request, self._answers, str(error))
            return
        applying = Event(
            request.id, "applying", step=step, edits=values, who=request.who, via=request.via, note=request.note
        )
        edit = Edit(step, values, who=request.who, via=request.via, note=request.note, at=applying.t)
        try:
            events.append(self._run, [applying], durable=True)
            self._record.add(edit)
        except OSError as error:
            reason = f"the edit cannot be recorded ({error.strerror or error}), so nothing was changed"
            reject(request, self._answers, reason)
            return
        try:
            self._change(edit)
        finally:
            self._answers.give(dataclasses.replace(applying, state="applied", t=time.time()), request.source)
            log.info("step %d: %s (%s)", step, _said(values), edit.comment)

    def scheduled(self, step: int, scheduled: Scheduled) -> None:
        """Apply an edit that was recorded before, by another run or an earlier attempt of this one.

        Raises:
            EditError: it cannot be applied here. RunDirError: it cannot be recorded.
        """
        recorded = scheduled.edit
        try:
            values = self._fitted(
                {key: check_recorded(key, value, self._keys) for key, value in recorded.values.items()}
            )
        except EditError as error:
            message = f"the edit at step {recorded.step} of {scheduled.source} cannot be applied: {error}"
            log.error("%s", message)
            raise EditError(message) from error
        if scheduled.is_recorded:
            self._change(recorded)
            return
        edit = Edit(step, values, via="replay", note=recorded.comment or None, at=time.time())
        try:
            self._record.add(edit)
        except OSError as error:
            raise RunDirError(
                f"the edit at step {step} of {scheduled.source} cannot be recorded in {str(self._run.changelog)!r}: "
                f"{error.strerror or error}; it was not applied"
            ) from error
        try:
            self._change(edit)
        finally:
            self._answers.give(Event(f"replay-{step}", "applied", step=step, edits=values, via="replay"))
            log.info("step %d: %s (replay)", step, _said(values))

    def _fitted(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {key: fitted(self._config, key, value) for key, value in values.items()}

    def _change(self, edit: Edit) -> None:
        assign(self._config, edit.values)
        self.now = build(self._config)
        for hook in self.hooks:
            hook(edit)


def _said(values: Mapping[str, Any]) -> str:
    text = ", ".join(f"{key}={value!r}" for key, value in values.items())
    return text if len(text) <= 500 else text[:500] + "…"
