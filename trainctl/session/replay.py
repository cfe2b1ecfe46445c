"""What a run repeats from the record, and what a live edit does to the rest of it (`trainctl.replay_mode`)."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from trainctl.attempt.attempt import Attempt
from trainctl.config.changelog import Changelog, Edit
from trainctl.config.settings import Settings
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import replayed_path
from trainctl.session.schedule import NEVER, Repeat, Schedule, forked_at, own_repeats, plan, replayed_repeats

log = logging.getLogger(__name__)


class ReplayPlan:
    """The recorded edits and actions to repeat: of a replayed run, and of earlier attempts of this run.

    Args:
        own_source: the path of the own changelog, for errors.
        replay: the replayed changelog; None when nothing is replayed.
        source: what is replayed, as the user named it.
        path: the same as a path.
        mode: `refuse`, `follow` or `fork`.
        repeats: the actions to repeat.
    """

    def __init__(
        self,
        own_source: str,
        replay: Changelog | None,
        source: str | None,
        path: Path | None,
        mode: str,
        repeats: Sequence[Repeat],
    ) -> None:
        self.source = source
        self._own_source = own_source
        self._replay = replay
        self._path = path
        self._mode = mode
        self._repeats = repeats
        self._has_forked = False

    def plan(self, own: Changelog, after: int = 0) -> Schedule:
        """Return the schedule after a step, given the current changelog of this run."""
        self._has_forked = self.forked_at(own) is not None
        source = f"the replayed {self.source}"
        schedule = plan(own, self._own_source, self._replay, source, mode=self._mode, repeats=self._repeats)
        if after:
            schedule.take(after)
            schedule.take_repeats(after)
        return schedule

    def parent(self, own: Changelog) -> dict[str, object] | None:
        """Return the `parent` entry of `run.yaml` for a run that has forked; None for all others."""
        step = self.forked_at(own)
        return None if step is None else {"run": str(self._path), "step": step}

    def forked_at(self, own: Changelog) -> int | None:
        """Return the step at which this run forked from the replayed one; None if it has not."""
        step = forked_at(own, self._replay, self._mode)
        return None if step == NEVER else step

    @property
    def refusal(self) -> str | None:
        """Why no live edit is taken; None when they are."""
        return None if self._replay is None else refusal(self.source, self._mode)

    def diverge(self, step: int, keys: Collection[str], schedule: Schedule, attempt: Attempt) -> list[Edit]:
        """Adapt the schedule to a live edit: `follow` removes its keys from scheduled edits, `fork` drops all of these.

        Returns:
            The edits that were superseded.
        """
        if self._replay is None:
            return []
        if self._mode == "follow":
            return schedule.supersede(keys)
        if not self._has_forked:
            self._has_forked = True
            left = schedule.drop_replayed()
            log.info("step %d: forked from %s; %d of its edits are dropped", step, self.source, left)
            attempt.update_run_yaml(parent={"run": str(self._path), "step": step})
        return []


def replay_plan(run: RunDir, settings: Settings, replay: Changelog | None) -> ReplayPlan:
    """Return what a run repeats: of the replayed run that its settings name, and of its own earlier attempts."""
    path = replayed_path(settings.replay)
    repeats = own_repeats(run)
    if path is not None:
        repeats += replayed_repeats(path, repeats)
    return ReplayPlan(str(run.changelog), replay, settings.replay, path, settings.replay_mode, repeats)


def refusal(source: str | None, mode: str) -> str | None:
    """Say why a run that replays `source` takes no edits; None when it does."""
    if source is None or mode != "refuse":
        return None
    return (
        f"this run replays {source} and takes no edits (trainctl.replay_mode=refuse); start it with "
        "trainctl.replay_mode=follow, or with fork to drop the rest of the recorded edits"
    )
