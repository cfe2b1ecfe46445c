"""Resuming from a checkpoint: config, bindings and schedule go back to the state at its step."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from typing import Any

from trainctl.config._omegaconf import MISSING
from trainctl.config.changelog import Changelog, Edit
from trainctl.config.keys import at, leaves
from trainctl.config.values import is_same
from trainctl.errors import SettingError
from trainctl.rundir.compare import RESUMED
from trainctl.rundir.summary import read_record
from trainctl.session import rng as random_states
from trainctl.session.schedule import Scheduled
from trainctl.session.step import Session

_VERSION = 1
_MOST_NOTED = 100  # resumes of one run


def state_dict(session: Session | None, step: int, seed: int | None, *, rng: bool) -> dict[str, Any]:
    """Return the session's part of a checkpoint: the step, and the values of all keys edited so far.

    Metrics are flushed first, because a run that resumes from the checkpoint does not log them again.
    """
    state: dict[str, Any] = {"version": _VERSION, "step": step, "seed": seed, "run": None, "edited": {}}
    if session is not None:
        session.metrics.flush()
        own = session.record.changelog
        edited = values_at(own, step)
        first = leaves(own.base)
        state |= {"run": str(session.attempt.run.path), "edited": edited}
        if added := [key for key in edited if key not in first]:
            state["added"] = added
    if rng:
        state["rng"] = random_states.take()
    return state


def check(state: Mapping[str, Any]) -> None:
    """Refuse a state that `state_dict` did not return.

    Raises:
        SettingError: it is something else, or of a newer version.
    """
    if not {"version", "step", "edited"} <= set(state):
        raise SettingError("live.load_state_dict: this is not what live.state_dict() returned")
    if state["version"] != _VERSION:
        raise SettingError(
            f"live.load_state_dict: the state is of version {state['version']!r}, and this trainctl reads {_VERSION}"
        )


def put_back_random(state: Mapping[str, Any]) -> None:
    """Restore the random states, if the checkpoint has them."""
    if state.get("rng"):
        random_states.put_back(state["rng"])


def values_at(changelog: Changelog, step: int, also: Collection[str] = ()) -> dict[str, Any]:
    """Return the values at a step of the keys edited up to it and of those in `also`; `???` for a removed entry."""
    config = changelog.at(step)
    edited = {key for edit in changelog.edits if edit.step <= step for key in edit.values}
    return {key: at(config, key, MISSING) for key in sorted(edited.union(also))}


def resume(session: Session, step: int, state: Mapping[str, Any]) -> None:
    """Resume a session after `step`: fold the changelog, run bindings and hooks, and schedule the edits still to come.

    Edits of a replayed run until then are recorded as its replay would have done, those of a checkpoint from another
    run dir as one edit at `step`. Metrics of later steps are superseded.

    Raises:
        EditError: an edit cannot be applied to this config. RunDirError: it cannot be recorded.
    """
    source = f"the checkpoint of {state.get('run')}"
    with session.reads.own():
        for scheduled in session.schedule.take(step):
            if not scheduled.is_recorded:
                session.applier.scheduled(scheduled.step, scheduled)
        session.note_start(step)
        foreign = _foreign(session.record.changelog, step, state)
        if foreign is not None:
            session.applier.scheduled(step, Scheduled(foreign, source, is_recorded=False))
        own = session.record.changelog
        session.schedule = session.replay.plan(own, after=step)
        session.metrics.go_on_after(step)
        session.begun = step
        _note(session, step)
        session.applier.go_back(step, values_at(own, step, session.applier.touched))


def _note(session: Session, step: int) -> None:
    """Note in `run.yaml` after which step the run goes on: a kill may have taken the last records before it."""
    earlier = read_record(session.attempt.run, RESUMED).get(RESUMED)
    steps = [*(earlier if isinstance(earlier, list) else []), step]
    with contextlib.suppress(OSError):  # a full disk: only a comparison with a repetition would miss it
        session.attempt.update_run_yaml(**{RESUMED: steps[-_MOST_NOTED:]})


def _foreign(own: Changelog, step: int, state: Mapping[str, Any]) -> Edit | None:
    """Return the changes in a checkpoint of another run dir that are missing from this run's changelog."""
    config = own.at(step)
    values = {
        key: value for key, value in state.get("edited", {}).items() if not is_same(at(config, key, MISSING), value)
    }
    note, first = f"as in the checkpoint of {state.get('run')}", leaves(own.base)
    is_known = all(key in first or key in state.get("added", ()) for key in values)
    return Edit(step, values, via="resume", note=note, id=f"resume-{step}" if is_known else None) if values else None
