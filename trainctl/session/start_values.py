"""What a run starts from: the recorded config, and values that no file has (drawn, set by the program, changed)."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from trainctl.attempt.attempt import Attempt
from trainctl.config._omegaconf import MISSING
from trainctl.config.assign import assign, current
from trainctl.config.changelog import Changelog, Edit
from trainctl.config.drawn import draw
from trainctl.config.keys import Units, at, leaves
from trainctl.config.settings import recorded, settings_of
from trainctl.config.snapshot import leaves_of, recorded_by_value, snapshot
from trainctl.config.values import differing_keys, is_same
from trainctl.errors import EditError
from trainctl.rundir.seed import note_seed, write_seed
from trainctl.rundir.summary import read_record
from trainctl.session.schedule import STARTED
from trainctl.session.start_check import COMPOSED, own_changelog, replayed_changelog

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StartValues:
    """The recorded and current values that an attempt starts from.

    Attributes:
        own: the run's own changelog; new in its first attempt.
        replay: the changelog to replay; None when nothing is replayed.
        drawn: the values that resolvers have drawn, by dotted key.
        composed: what Hydra had composed for the keys that the program has set before `live`.
        changed: the values of this attempt that differ from step 0 of the changelog.
    """

    own: Changelog
    replay: Changelog | None
    drawn: dict[str, Any]
    composed: Any
    changed: dict[str, Any]

    @property
    def facts(self) -> dict[str, Any]:
        """The entries of `run.yaml`."""
        return {"drawn": self.drawn, COMPOSED: self.composed}


def start_values(config: DictConfig, attempt: Attempt) -> StartValues:
    """Set seed and drawn values in a config, check it against the record, and return what the attempt starts from.

    Raises:
        SettingError, ChangelogError, DriftError: nothing may start then.
    """
    run, settings = attempt.run, settings_of(config)
    write_seed(config, attempt.seed)  # so that the changelog alone is enough to repeat the run
    is_first, earlier = not os.path.lexists(run.changelog), read_record(run, "drawn", COMPOSED)
    before = earlier["drawn"] if isinstance(earlier.get("drawn"), dict) else {}
    own = own_changelog(run, config, settings, before)
    replay = replayed_changelog(config, settings, before)
    records = [each for each in (None if is_first else own, replay) if each is not None]
    drawn = take_recorded(config, records, before, settings.hidden)
    if is_first:
        own = Changelog(recorded(config))
    note_seed(own.base, attempt.seed)
    composed = set_by_program(attempt.composed, config, drawn) if is_first else earlier.get(COMPOSED)
    return StartValues(own, replay, drawn, composed, changes_since(own, config))


def edit_of_start(own: Changelog, step: int, changed: Mapping[str, Any], attempt: int) -> Edit | None:
    """Return the edit that records the values an attempt was started with instead of those of step 0."""
    now = own.at(step) if changed else {}
    values = {key: value for key, value in changed.items() if not is_same(at(now, key), value)}
    note = f"attempt {attempt} was started with"
    return Edit(step, values, via="start", note=note, at=time.time(), id=f"{STARTED}{attempt}") if values else None


def take_recorded(
    config: DictConfig, records: Collection[Changelog], also: Collection[str] = (), hidden: Sequence[str] = ()
) -> dict[str, Any]:
    """Replace drawn interpolations in the config by their values: the recorded ones where there is a record.

    Interpolations that may be secrets stay as they are written.

    Args:
        config: changed in place.
        records: of this run, and of the one that it replays; the first that knows a key counts.
        also: keys that were drawn before.
        hidden: patterns of further keys that may be secrets.

    Returns:
        The drawn values by dotted key.
    """
    called = {key for key, names in recorded_by_value(config).items() if not names & {"now", "hydra"}}
    drawn = draw(config, hidden)
    kept = {*drawn.facts().get("drawn", {}), *also}
    now = leaves_of(config)
    for key in sorted((called - drawn.texts.keys()) | kept):
        for record in records:
            first = leaves(record.base)
            if key in first:
                _give(config, key, first[key], now.get(key))
                break
    values = snapshot(config)
    return {key: at(values, key) for key in kept}


def _give(config: DictConfig, key: str, value: Any, now: Any) -> None:
    if is_same(value, now):
        return
    try:
        assign(config, {key: value}, base={key})
    except Exception as error:  # noqa: BLE001  # a value recorded at another time may not fit any more
        log.warning("%s keeps the value drawn now: %s", key, error)


def set_by_program(composed: Mapping[Any, Any] | None, config: DictConfig, given: Collection[str]) -> dict[str, Any]:
    """Return the composed values of the keys that the program has set before `live`; `???` for a new key."""
    if composed is None:
        return {}
    before, ignore = leaves(composed), {*recorded_by_value(config), *given}
    differing = differing_keys(composed, snapshot(config), ignore=ignore)
    return {key: before.get(key, MISSING) for key in differing}


def changes_since(own: Changelog, config: DictConfig) -> dict[str, Any]:
    """Return the values of a config that differ from step 0 of the run, as an edit records them."""
    units, found = Units(own.base), {}
    for key in differing_keys(own.base, snapshot(config), ignore=recorded_by_value(config)):
        unit, _ = units.of(key)
        try:
            found[unit] = current(config, unit)
        except EditError:  # it is not there any more
            continue
    return found
