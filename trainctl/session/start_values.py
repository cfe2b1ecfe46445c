"""The values that a run starts with although no file has them: drawn ones, those of the program, changed ones."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from trainctl.config import drift
from trainctl.config._omegaconf import MISSING
from trainctl.config.assign import assign, current
from trainctl.config.changelog import Changelog
from trainctl.config.drawn import draw
from trainctl.config.keys import Units, at, leaves
from trainctl.config.snapshot import leaves_of, recorded_by_value, snapshot
from trainctl.config.values import is_same
from trainctl.errors import EditError

log = logging.getLogger(__name__)


def take_recorded(
    config: DictConfig, records: Collection[Changelog], also: Collection[str] = (), hidden: Sequence[str] = ()
) -> dict[str, Any]:
    """Give the config, for good, the values that its resolvers draw: those of a record where there is one.

    What may be a secret stays as it is written.

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
    except Exception as error:  # noqa: BLE001  # what a record of another time holds may not fit any more
        log.warning("%s keeps the value that was drawn now: %s", key, error)


def set_by_program(composed: Mapping[Any, Any] | None, config: DictConfig, given: Collection[str]) -> dict[str, Any]:
    """Return what Hydra had composed for the keys that the program has set before `live`; `???` for a new one."""
    if composed is None:
        return {}
    before, ignore = leaves(composed), {*recorded_by_value(config), *given}
    differing = drift.differing_keys(composed, snapshot(config), ignore=ignore)
    return {key: before.get(key, MISSING) for key in differing}


def changes_since(own: Changelog, config: DictConfig) -> dict[str, Any]:
    """Return the values of a config that differ from those of the run's own step 0, as an edit records them."""
    units, found = Units(own.base), {}
    for key in drift.differing_keys(own.base, snapshot(config), ignore=recorded_by_value(config)):
        unit, _ = units.of(key)
        try:
            found[unit] = current(config, unit)
        except EditError:  # it is not there any more
            continue
    return found
