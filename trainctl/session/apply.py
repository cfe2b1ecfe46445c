"""How an edit takes effect at a step: check, record, change, notify. Only here does a running config change."""

from __future__ import annotations

import contextlib
import copy
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from omegaconf import DictConfig

from trainctl.attempt.attempt import describe
from trainctl.config.assign import assign, changes, current, rehearse, units_of
from trainctl.config.changelog import Edit
from trainctl.config.controls import Key
from trainctl.config.edit import check_editable, check_inside, check_recorded, parse_change, parse_edits
from trainctl.config.editable import EditableKeys
from trainctl.config.keys import Units
from trainctl.errors import EditError, RunDirError
from trainctl.rundir.edits import Applied, to_undo
from trainctl.rundir.events import Answers, Event
from trainctl.rundir.request import Request
from trainctl.session.changelog_file import ChangelogFile
from trainctl.session.reads import Reads
from trainctl.session.schedule import Scheduled, started_keys
from trainctl.session.values import EditedValues, Listeners, Now, build

log = logging.getLogger(__name__)


class Applier:
    """Applies requests and scheduled edits to one config, in the training thread, inside `live.step()`.

    Attributes:
        now: the current values.
        touched: all keys edited so far.
        publish: called with the control of each key when entries were added or removed.
    """

    def __init__(
        self,
        config: DictConfig,
        keys: EditableKeys,
        record: ChangelogFile,
        answers: Answers,
        listeners: Listeners,
        reads: Reads,
    ) -> None:
        self._config = config
        self._all_keys = self._keys = keys
        inside: list[Any] = list(keys.controls.values())
        self._has_epochs = any(key.when == "epoch" for key in (*keys.values(), *inside))
        self._has_checkpoints = any(key.checkpoint_first for key in (*keys.values(), *inside))
        self.record = record
        self.answers = answers
        self._units = Units(record.changelog.base)
        self._base = self._units.leaves
        self.listeners = listeners
        self.reads = reads
        self._latest: Edit | None = None
        self._added: dict[str, Key] = {}
        self.touched: set[str] = set()
        self.publish: Callable[[dict[str, Key]], object] = lambda _: None
        self.now: Now = build(config)

    @property
    def keys(self) -> dict[str, Key]:
        """How each key of the run may be edited now, including added entries."""
        return {**self._keys, **self._added}

    def take_latest(self) -> Edit | None:
        """Return the edit that changed the config since the last call; None if there was none."""
        latest, self._latest = self._latest, None
        return latest

    def lock_unbound(self, trainer: str | None) -> None:
        """Lock the keys that no binding follows; None for the trainer unlocks them. A hook follows every key."""
        self._keys = self._all_keys
        if trainer is not None and not self.listeners.hooks:
            names = [name for name, key in self._all_keys.items() if key.locked is None]
            followed = [self.reads.followed(names, apply) for apply in self.listeners.bindings]
            self._keys = self._all_keys.without_unbound(set().union(*followed), trainer)

    def must_wait_for_epoch(self, request: Request) -> bool:
        """Whether a request must wait for the next epoch because one of its keys changes only between epochs.

        A request that would be refused now need not wait.
        """
        return self._has_epochs and any(key.when == "epoch" for key in self._touched(request))

    def wants_checkpoint(self, request: Request) -> bool:
        """Whether one of the keys of a request asks for a checkpoint before it changes."""
        return self._has_checkpoints and any(key.checkpoint_first for key in self._touched(request))

    def is_refused(self, request: Request) -> bool:
        """Reject a request for a later step at once if it can never be applied; return whether it was rejected.

        Whatever depends on the values at that step (relative edits, `max_change`, an undo) is not checked.
        """
        try:
            with _refusing("taken"):
                if request.edits:
                    self._fitted(parse_edits(request.edits, self._keys))
                for key in request.relative:
                    check_editable(key, request.asked.get(key), self._keys)
        except EditError as error:
            self.answers.reject(request, str(error))
            return True
        return False

    def request(self, step: int, request: Request) -> None:
        """Apply a request at the start of `step`, all of its edits or none, and answer it; training goes on either way.

        Any failure before the edit is on disk rejects the request and changes nothing.

        Raises:
            Exception: what a hook of the user raised; the edit is recorded and in effect then.
        """
        try:
            values, undone = self._resolved(request, step)
            with _refusing("taken"):
                self._rehearse(values)
            number = undone.number if undone else None
            note = request.note
            if number is not None:
                note = f"undo of edit {number}" + (f": {note}" if note else "")
            source = (request.who, request.via, note, time.time(), request.id)
            edit = Edit(step, values, *source, undo=number)
            with _refusing("recorded"):
                self.record.add(edit)
        except EditError as error:
            self.answers.reject(request, str(error))
            return
        try:
            self._change(edit)
        finally:
            self.answers.give(Event.about(request, "applied", step=step, edits=values, undo=number), request.source)
            log.info("step %d: %s (%s)", step, _said(values), edit.comment)

    def scheduled(self, step: int, scheduled: Scheduled) -> None:
        """Apply an edit recorded by another run or by an earlier attempt of this one.

        Raises:
            EditError: it cannot be applied here. RunDirError: it cannot be recorded.
        """
        recorded = scheduled.edit
        try:
            # a new entry is one that was asked for; in a schedule written by hand it is a misspelt key
            may_add = any(part.id is not None for part in recorded.each)
            for key, value in recorded.values.items():
                check_recorded(key, value, self._keys, self._base, may_add=may_add)
            values = self._fitted(recorded.values)
        except EditError as error:
            message = f"the edit at step {recorded.step} of {scheduled.source} cannot be applied: {error}"
            log.error("%s", message)
            raise EditError(message) from error
        given = started_keys(recorded)
        if scheduled.is_recorded:
            self._change(recorded, given)
            return
        via = recorded.via or "replay"  # a changelog's edits have none
        note = (recorded.note if recorded.via else recorded.comment) or None
        edit = Edit(step, values, via=via, note=note, at=time.time(), id=f"{via}-{step}")
        self.note(edit, f"the edit at step {step} of {scheduled.source}")
        try:
            self._change(edit, given)
        finally:
            self.answers.give(Event(f"{via}-{step}", "applied", step=step, edits=values, via=via))
            log.info("step %d: %s (%s)", step, _said(values), via)

    def note(self, edit: Edit, what: str = "what the run was started with") -> None:
        """Record an edit that no request asked for.

        Raises:
            RunDirError: it cannot be recorded.
        """
        try:
            self.record.add(edit)
        except Exception as error:
            raise RunDirError(
                f"{what} cannot be recorded in {str(self.record.path)!r}: {_reason(error)}; it was not applied"
            ) from error

    def _touched(self, request: Request) -> list[Key]:
        """Return the keys that a request would change, including those inside lists."""
        try:
            values = self._resolved(request)[0]
        except EditError:
            return []
        return [self._keys.control(key) for key, _, _ in changes(self._config, values)]

    def _resolved(self, request: Request, step: int | None = None) -> tuple[dict[str, Any], Applied | None]:
        """Return the values that a request sets, and the edit that it undoes."""
        with _refusing("taken"):
            return self._asked_for(request, step)

    def _asked_for(self, request: Request, step: int | None) -> tuple[dict[str, Any], Applied | None]:
        if request.undo is not None:
            undone = self._undone(request.undo, request.force, step)
            return self._fitted(undone.before), undone
        values = parse_edits(request.edits, self._keys) if request.edits or not request.relative else {}
        for key, change in request.relative.items():
            if key in values:
                raise EditError(f"{key}{change['op']}={change['by']}: the key is given twice in one request")
            values[key] = parse_change(key, change, partial(current, self._config, key), self._keys)
        fit = self._fitted(values)
        for key, old, new in changes(self._config, fit):
            check_inside(key, old, new, self._keys.control(key), force=request.force)
        return fit, None

    def _undone(self, wanted: int | bool, force: bool, step: int | None) -> Applied:
        undone = to_undo(self.record.applied, wanted, force=force, step=step)
        for key, value in undone.before.items():
            check_editable(key, value, self._keys, plus="++")
            check_recorded(key, value, self._keys, self._base)
        return undone

    def _fitted(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values as the config will hold them and a replay will read them; interpolations of step 0 stay."""
        fit = units_of(self._config, self._units, values)
        for key, value in fit.items():
            check_recorded(key, value, self._keys, self._base)
        return fit

    def _rehearse(self, values: Mapping[str, Any]) -> None:
        """Try an edit on a copy, and check it with the bindings that have a `check_values`."""
        rehearse(self._config, values, self._base)
        checks = [apply.check_values for apply in self.listeners.bindings if hasattr(apply, "check_values")]
        if checks:
            trial = copy.deepcopy(self._config)
            assign(trial, values, self._base)
            now = build(trial)
            for check in checks:
                check(now)

    def _change(self, edit: Edit, given: Collection[str] = ()) -> None:
        """Change the config; `given` are keys that the program had at its start, so nobody needs to read them again."""
        assign(self._config, edit.values, self._base)
        self._latest = edit
        self._note_keys(edit)
        keys = edit.values.keys() - given
        self.reads.watch(((part.id, keys & part.values.keys()) for part in edit.each), edit.step)
        self.now = build(self._config, self.reads)
        told = replace(edit, values=EditedValues(edit.values, self.reads.take))
        with self.reads.task():
            self.listeners.hear(edit, told, self.now)

    def go_back(self, step: int, values: Mapping[str, Any]) -> None:
        """Set keys to the values they had after `step`, the step of a checkpoint; this is not recorded."""
        edit = Edit(step, dict(values), via="resume")
        assign(self._config, edit.values, self._base)
        self._note_keys(edit)
        self.reads.arm()
        self.now = build(self._config, self.reads)
        with self.reads.task():
            self.listeners.hear(edit, edit, self.now)

    def _note_keys(self, edit: Edit) -> None:
        """Note which keys were edited, and publish the keys if entries were added or removed."""
        self.touched.update(edit.values)
        new = (key for key in self.touched if key not in self._keys and not self._units.is_section(key))
        found = {key: self._keys.get(key) for key in new}
        before, self._added = self._added, {key: spec for key, spec in found.items() if spec is not None}
        if before.keys() != self._added.keys():
            self.publish(self.keys)


@contextlib.contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Turn any exception into the refusal of an edit: no request may end a training run.

    Raises:
        EditError: what was raised, in a sentence.
    """
    try:
        yield
    except EditError:
        raise
    except Exception as error:
        raise EditError(f"the edit cannot be {what} ({_reason(error)}), so nothing was changed") from error


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else describe(error)


def _said(values: Mapping[str, Any]) -> str:
    text = ", ".join(f"{key}={value!r}" for key, value in values.items())
    return text if len(text) <= 500 else text[:500] + "…"
