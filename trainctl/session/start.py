"""Whether a run starts from the config that was recorded: what Hydra composes, and what the program makes of it."""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from trainctl.attempt.reservation import in_use
from trainctl.config import drift
from trainctl.config._omegaconf import MISSING, text_at
from trainctl.config.assign import assign, current
from trainctl.config.changelog import Changelog, put
from trainctl.config.drawn import draw, drawn_texts
from trainctl.config.editable import Units
from trainctl.config.identity import counts
from trainctl.config.keys import at, is_within, leaves, split
from trainctl.config.naming import current_swept
from trainctl.config.settings import Settings, settings_of
from trainctl.config.settings_node import recorded
from trainctl.config.snapshot import moment_keys, recorded_by_value, snapshot
from trainctl.config.values import is_same
from trainctl.errors import DriftError, EditError, RunDirError
from trainctl.rundir import files
from trainctl.rundir.lock import is_locked
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import original_cwd
from trainctl.rundir.summary import read_record
from trainctl.session.schedule import STARTED, read_own, read_replay

log = logging.getLogger(__name__)

COMPOSED = "composed"  # in run.yaml: what Hydra composed for the keys that the program set before `live`
_OWN_ADVICE = (
    "a run dir holds one run: choose another with hydra.run.dir, hydra.sweep.dir or run_dir=; to go on with this run "
    "all the same name these keys in trainctl.identity.exclude, or give trainctl.drift=allow"
)
_REPLAY_ADVICE = (
    "start from the same config, name these keys in trainctl.identity.exclude, or give trainctl.drift=allow to apply "
    "its edits anyway"
)


def check_start(run: RunDir, config: DictConfig) -> Settings:
    """Refuse what would stop a run as soon as it has begun; nothing is made or changed for that.

    What Hydra has composed now is compared with what it composed then: the program may set more before `live`.

    Raises:
        SettingError: a setting of `trainctl:` is wrong.
        ChangelogError, DriftError: what is to be replayed is not a changelog, or of another config.
        RunDirError: the run dir is no directory, or in use.
    """
    settings = settings_of(config)
    for path in (run.path, *run.path.parents):
        if path.exists() and not path.is_dir():
            raise RunDirError(
                f"the run dir {str(run.path)!r} cannot be made: {str(path)!r} is a file; "
                "choose another with hydra.run.dir"
            )
    if is_locked(run.lock):
        raise RunDirError(in_use(run))
    own_changelog(run, config, settings, is_composed=True)
    replayed_changelog(config, settings, is_composed=True)
    return settings


def own_changelog(run: RunDir, config: DictConfig, settings: Settings, *, is_composed: bool = False) -> Changelog:
    """Return the changelog that earlier attempts wrote, else a new one.

    Keys of `trainctl.identity.exclude` may differ, and values that a resolver gave; all may with
    `trainctl.drift=allow`.

    Args:
        run: which.
        config: of the run that starts.
        settings: its `trainctl:` settings.
        is_composed: the program has not run yet, so what it set then is left out.

    Raises:
        ChangelogError, DriftError: what stands there is not a changelog, or of another config.
    """
    own = read_own(run)
    if own is None:
        return Changelog(recorded(config))
    base = _as_composed(own.base, run) if is_composed else own.base
    check = Check(base, config, settings, run)
    check(str(run.changelog), _OWN_ADVICE, ignore=recorded_by_value(config), is_silent=is_composed)
    return own


def replayed_changelog(config: DictConfig, settings: Settings, *, is_composed: bool = False) -> Changelog | None:
    """Return the changelog to replay; None when none is asked for.

    Where the schedule to replay is an axis of a sweep (`-m trainctl.replay=a,b norm=new,batch`), the keys of the other
    axes may differ from the recorded ones; keys and values may as for `own_changelog`.

    Raises:
        ChangelogError, DriftError: it is not a changelog, or of another config and that is not allowed.
    """
    if settings.replay is None:
        return None
    path = original_cwd() / Path(settings.replay).expanduser()
    replay = read_replay(path)
    run = RunDir.at(path if path.is_dir() else path.parent)
    is_alone = not path.is_dir() and run.changelog != path
    if is_composed and is_alone:  # nothing tells what the program had set there
        return replay
    base = _as_composed(replay.base, run) if is_composed else replay.base
    ignore = {*moment_keys(config), *_keys_of_axes(replay.base, snapshot(config))}
    later = started_with(replay)
    ignore |= {key for key, value in leaves(snapshot(config)).items() if key in later and is_same(value, later[key])}
    check = Check(base, config, settings, None if is_alone else run)
    check(f"the replayed {settings.replay}", _REPLAY_ADVICE, ignore=ignore, is_silent=is_composed)
    return replay


def started_with(changelog: Changelog) -> dict[str, Any]:
    """Return what later attempts of a recorded run were started with in place of what step 0 says, by key."""
    edits = [part for edit in changelog.edits for part in edit.each if (part.id or "").startswith(STARTED)]
    return {key: value for part in edits for key, value in part.values.items()}


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


class Check:
    """Compares a config with a recorded one.

    Args:
        recorded: the plain config of the record.
        config: of the run that starts.
        settings: its `trainctl:` settings.
        run: whose record it is, where that is known.
    """

    def __init__(self, recorded: Mapping[Any, Any], config: DictConfig, settings: Settings, run: RunDir | None) -> None:
        self._recorded, self._config, self._settings, self._run = recorded, config, settings, run

    def __call__(self, source: str, allowed: str, *, ignore: Collection[str], is_silent: bool) -> None:
        """Refuse a config that differs, but for keys that may.

        Args:
            source: where the record was read from, for the sentence.
            allowed: what the person can do.
            ignore: further keys that may differ.
            is_silent: say nothing of differences that `trainctl.drift=allow` lets pass: it is said later.

        Raises:
            DriftError: some keys differ.
        """
        now = snapshot(self._config)
        differing = drift.differing_keys(self._recorded, now, ignore=ignore)
        exclude = self._settings.identity.exclude
        # what is missing now, and was not there when Hydra had composed it: the program sets it
        unset = {key for key in differing if at(now, key) == MISSING and at(self._recorded, key) is None}
        left = {key for key in differing if counts(key, exclude)} - unset
        if left:
            left -= _given_by_resolvers(self._config, left, self._run)
        try:
            drift.check(self._recorded, now, source=source, allowed=allowed, ignore={*ignore, *(set(differing) - left)})
        except DriftError as error:
            if self._settings.drift != "allow":
                raise
            if not is_silent:
                log.warning("%s", error)


def _given_by_resolvers(config: DictConfig, keys: Collection[str], run: RunDir | None) -> set[str]:
    """Return those of the keys whose value a resolver gives: a drawn one, or by the same call as in the record."""
    called = recorded_by_value(config).keys() & set(keys)
    if not called:
        return set()
    drawn, texts = drawn_texts(config), {} if run is None else files.read_mapping(run.config)
    return {
        key
        for key in called
        if key in drawn or any(is_within(each, [key]) for each in drawn) or _is_same_call(texts, config, key)
    }


def _is_same_call(texts: Mapping[Any, Any], config: DictConfig, key: str) -> bool:
    text = text_at(config, split(key))
    return text is not None and at(texts, key) == text


def take_recorded(config: DictConfig, records: Collection[Changelog], also: Collection[str] = ()) -> dict[str, Any]:
    """Give the config, for good, the values that its resolvers draw: those of a record where there is one.

    Args:
        config: changed in place.
        records: of this run, and of the one that it replays; the first that knows a key counts.
        also: keys that were drawn before.

    Returns:
        The drawn values by dotted key.
    """
    called = {key for key, names in recorded_by_value(config).items() if not names & {"now", "hydra"}}
    drawn = draw(config)
    now = leaves(snapshot(config))
    for key in sorted(called | {*also}):
        for record in records:
            first = leaves(record.base)
            if key in first:
                _give(config, key, first[key], now.get(key))
                break
    return {key: at(snapshot(config), key) for key in {*drawn, *also}}


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


def _as_composed(base: Mapping[Any, Any], run: RunDir) -> dict[Any, Any]:
    """Return the config of a record as Hydra had composed it."""
    composed = read_record(run, COMPOSED).get(COMPOSED)
    found = copy.deepcopy(dict(base))
    for key, value in composed.items() if isinstance(composed, dict) else ():
        put(found, str(key), value)
    return found


def _keys_of_axes(*configs: Mapping[Any, Any]) -> set[str]:
    """Return the keys that differ between the jobs of a sweep over schedules: those at and below each swept key."""
    swept = current_swept() or frozenset()
    if "trainctl.replay" not in swept:
        return set()
    places = tuple(key.rpartition("@")[2].replace("/", ".") for key in swept)
    return {key for config in configs for key in leaves(config) if is_within(key, places)}
