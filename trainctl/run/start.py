"""What a run starts from: its own changelog, and the one that it shall repeat. Both must be of the run's own config."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from trainctl.config import drift
from trainctl.config.changelog import Changelog
from trainctl.config.keys import is_within, leaves
from trainctl.config.naming import current_swept
from trainctl.config.settings import Settings, settings_of
from trainctl.config.snapshot import moment_keys, recorded_by_value, snapshot
from trainctl.errors import DriftError, RunDirError
from trainctl.run.lock import is_locked
from trainctl.run.provenance import original_cwd
from trainctl.run.reservation import in_use
from trainctl.run.rundir import RunDir
from trainctl.run.schedule import read_changelog, read_replay

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
    base = snapshot(config)
    if not run.changelog.exists():
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
