"""Opening a live session: what it starts from is read and checked, then its pump begins to work.

What a run starts from: its own changelog, and the one that it shall repeat. Both must be of the run's own config.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from trainctl.attempt.attempt import Attempt
from trainctl.attempt.reservation import in_use
from trainctl.config import drift
from trainctl.config.changelog import Changelog
from trainctl.config.controls import Key, keys_of
from trainctl.config.keys import is_within, leaves
from trainctl.config.naming import current_swept
from trainctl.config.settings import Settings, settings_of
from trainctl.config.settings_node import recorded
from trainctl.config.snapshot import moment_keys, recorded_by_value, snapshot
from trainctl.errors import DriftError, RunDirError
from trainctl.rundir.edits import applied_edits
from trainctl.rundir.events import Answers, latest, read_events
from trainctl.rundir.lock import is_locked
from trainctl.rundir.metrics import MetricLog
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import original_cwd
from trainctl.rundir.request import Request
from trainctl.rundir.seed import note_seed, write_seed
from trainctl.session.actions import Actions
from trainctl.session.apply import Applier
from trainctl.session.changelog_file import ChangelogFile
from trainctl.session.flags import Flags
from trainctl.session.io_thread import Position, Pump
from trainctl.session.recovery import recover
from trainctl.session.replay import Replaying
from trainctl.session.schedule import own_repeats, read_changelog, read_replay, replayed_repeats
from trainctl.session.step import Session
from trainctl.session.values import Now

log = logging.getLogger(__name__)


def check_start(run: RunDir, config: DictConfig) -> Settings:
    """Refuse what would stop a run as soon as it has begun; nothing is made or changed for that.

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
    own_changelog(run, config)
    replayed_changelog(config, settings, say_drift=False)
    return settings


def own_changelog(run: RunDir, config: DictConfig) -> Changelog:
    """Return the changelog that earlier attempts wrote, else a new one; keys recorded by value may differ.

    Raises:
        ChangelogError, DriftError: what stands there is not a changelog, or of another config.
    """
    base = recorded(config)
    if not os.path.lexists(run.changelog):
        return Changelog(base)
    own = read_changelog(run.changelog, f"the run dir {str(run.path)!r}")
    drift.check(
        own.base,
        base,
        source=str(run.changelog),
        allowed="a run dir holds one run: choose another with hydra.run.dir, hydra.sweep.dir or run_dir=",
        ignore=recorded_by_value(config),
    )
    return own


def replayed_changelog(config: DictConfig, settings: Settings, *, say_drift: bool = True) -> Changelog | None:
    """Return the changelog to replay; None when none is asked for.

    Where the schedule to replay is an axis of a sweep (`-m trainctl.replay=a,b norm=new,batch`), the keys of the other
    axes may differ from the recorded ones.

    Args:
        config: of the run that starts.
        settings: its `trainctl:` settings.
        say_drift: log what differs where `trainctl.drift=allow`.

    Raises:
        ChangelogError, DriftError: it is not a changelog, or of another config and that is not allowed.
    """
    if settings.replay is None:
        return None
    replay = read_replay(original_cwd() / Path(settings.replay).expanduser())
    now = snapshot(config)
    try:
        drift.check(
            replay.base,
            now,
            source=f"the replayed {settings.replay}",
            allowed="start from the same config, or give trainctl.drift=allow to apply its edits anyway",
            ignore={*moment_keys(config), *_keys_of_axes(replay.base, now)},
        )
    except DriftError as error:
        if settings.drift != "allow":
            raise
        if say_drift:
            log.warning("%s", error)
    return replay


def _keys_of_axes(*configs: Mapping[Any, Any]) -> set[str]:
    """Return the keys that differ between the jobs of a sweep over schedules: those at and below each swept key."""
    swept = current_swept() or frozenset()
    if "trainctl.replay" not in swept:
        return set()
    places = tuple(key.rpartition("@")[2].replace("/", ".") for key in swept)
    return {key for config in configs for key in leaves(config) if is_within(key, places)}


def open_session(
    config: DictConfig,
    attempt: Attempt,
    taken: deque[Request],
    flags: Flags,
    *,
    position: Callable[[], Position],
    show: Callable[[Now], None],
) -> Session:
    """Read and check what an attempt starts from, write the changelog's step 0, and start its pump.

    The pump puts requests into `taken` and asks `position` where the training is; `show` gets the values of each edit.

    Raises:
        SettingError, ChangelogError, DriftError, RunDirError: nothing is started then.
    """
    run, settings = attempt.run, settings_of(config)
    write_seed(config, attempt.seed)  # so that the changelog alone is enough to repeat the run
    keys = keys_of(config, settings.controls, settings.editable)
    own = own_changelog(run, config)
    note_seed(own.base, attempt.seed)
    replay = replayed_changelog(config, settings)
    said = read_events(run)
    record, answers = ChangelogFile(run.changelog, own, applied_edits(own, said)), Answers(run)
    try:
        metrics = MetricLog(run.metrics, is_further=run.metrics.exists() and run.metrics.stat().st_size > 0)
        replaying = _replaying(run, settings, replay)
        _write_start(attempt, record, keys, replaying)
        seen = recover(run, record.applied, latest(said), attempt.left)
    except OSError as error:
        raise RunDirError(f"the run dir {str(run.path)!r} cannot be written: {error.strerror or error}") from error
    applier = Applier(run, config, keys, record, answers)
    session = Session(attempt, applier, record, replaying, metrics, answers, taken, flags, show)
    session.pump = Pump(
        run, poll_s=settings.poll_s, taken=taken, seen=seen, answers=answers, metrics=metrics, position=position
    )
    session.pump.start()
    return session


def _write_start(attempt: Attempt, record: ChangelogFile, keys: Mapping[str, Key], replaying: Replaying) -> None:
    """Write what page and command line need to know.

    Raises:
        OSError: it cannot be written.
    """
    run, own = attempt.run, record.changelog
    if record.has_rest or not run.changelog.exists():
        record.write()
    for path in (run.events, run.metrics):
        path.touch(mode=0o600)  # nothing asked for and nothing logged is an answer too
    facts: dict[str, Any] = {"keys": {name: key.to_dict() for name, key in keys.items()}}
    facts["actions"] = Actions().to_dict()
    parent = replaying.parent(own)
    if parent is not None:
        facts["parent"] = parent
    attempt.update_run_yaml(**facts)


def _replaying(run: RunDir, settings: Settings, replay: Changelog | None) -> Replaying:
    path = None if settings.replay is None else original_cwd() / Path(settings.replay).expanduser()
    repeats = own_repeats(run)
    if path is not None:
        repeats += replayed_repeats(path, repeats)
    return Replaying(str(run.changelog), replay, settings.replay, path, settings.replay_mode, repeats)
