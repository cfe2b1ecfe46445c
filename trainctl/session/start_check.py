"""The check that a run starts from the recorded config: as composed by Hydra, and as changed by the program."""

from __future__ import annotations

import copy
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from trainctl.attempt.reservation import check_free
from trainctl.config._omegaconf import MISSING
from trainctl.config.changelog import Changelog, put
from trainctl.config.keys import is_within, leaves, name_in, split
from trainctl.config.naming import current_swept
from trainctl.config.settings import Settings, recorded, settings_of
from trainctl.config.snapshot import leaves_of, moment_keys, recorded_by_value, snapshot
from trainctl.config.values import is_same
from trainctl.errors import RunDirError
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import replayed_path
from trainctl.rundir.seed import choose_seed, write_seed
from trainctl.rundir.summary import read_record
from trainctl.session.drift import refuse_drift
from trainctl.session.schedule import STARTED, read_own, read_replay

COMPOSED = "composed"  # in run.yaml: what Hydra composed for the keys that the program set before `live`
_OWN_ADVICE = (
    "a run dir holds one run: choose another with hydra.run.dir, hydra.sweep.dir or run_dir=; to go on with this run "
    "anyway, name these keys in trainctl.identity.exclude, or give trainctl.drift=allow"
)
_REPLAY_ADVICE = (
    "start from the same config, name these keys in trainctl.identity.exclude, or give trainctl.drift=allow to apply "
    "its edits anyway"
)


def check_start(run: RunDir, config: DictConfig, drawn: Collection[str] = ()) -> Settings:
    """Refuse a start that would fail anyway, before anything is made or changed.

    What Hydra has composed now is compared with what it composed then: the program may set more before `live`, and keys
    that were `drawn` may differ.

    Raises:
        SettingError: a setting of `trainctl:` is wrong.
        ChangelogError, DriftError: what is to be replayed is not a changelog, or of another config.
        RunDirError: the run dir is not a directory, or in use.
    """
    settings = settings_of(config)
    for path in (run.path, *run.path.parents):
        if path.exists() and not path.is_dir():
            raise RunDirError(
                f"the run dir {str(run.path)!r} cannot be made: {str(path)!r} is a file; "
                "choose another with hydra.run.dir"
            )
    check_free(run)
    own_changelog(run, config, settings, drawn, is_composed=True)
    replayed_changelog(config, settings, drawn, is_composed=True)
    return settings


def check_again(run: RunDir, config: DictConfig) -> None:
    """Refuse a start without Hydra in the run dir of an earlier attempt, which stays as it has ended.

    Raises:
        SettingError, ChangelogError, DriftError: as when the attempt opens its session.
    """
    if not os.path.lexists(run.changelog):
        return
    settings, tried = settings_of(config), copy.deepcopy(config)
    write_seed(tried, choose_seed(settings.seed, run, replayed_path(settings.replay)))
    drawn = read_record(run, "drawn").get("drawn")
    before = drawn if isinstance(drawn, dict) else {}
    own_changelog(run, tried, settings, before, is_silent=True)
    replayed_changelog(tried, settings, before, is_silent=True)


def own_changelog(
    run: RunDir,
    config: DictConfig,
    settings: Settings,
    drawn: Collection[str] = (),
    *,
    is_composed: bool = False,
    is_silent: bool = False,
) -> Changelog:
    """Return the changelog that earlier attempts wrote, else a new one.

    Keys of `trainctl.identity.exclude` may differ, and values that a resolver gave; all may with
    `trainctl.drift=allow`.

    Args:
        run: which.
        config: of the run that starts.
        settings: its `trainctl:` settings.
        drawn: keys that a resolver has drawn a value for, which the config has for good.
        is_composed: the program has not run yet, so what it set then is left out.
        is_silent: what may differ is not told; nor is it where the program has not run yet.

    Raises:
        ChangelogError, DriftError: what stands there is not a changelog, or of another config.
    """
    own = read_own(run)
    if own is None:
        return Changelog(recorded(config))
    base = _as_composed(own.base, run) if is_composed else own.base
    refuse_drift(
        *(base, config, settings, run),
        source=str(run.changelog),
        advice=_OWN_ADVICE,
        ignore={*recorded_by_value(config), *drawn},
        is_silent=is_silent or is_composed,
    )
    return own


def replayed_changelog(
    config: DictConfig,
    settings: Settings,
    drawn: Collection[str] = (),
    *,
    is_composed: bool = False,
    is_silent: bool = False,
) -> Changelog | None:
    """Return the changelog to replay; None when none is asked for.

    Where the schedule to replay is an axis of a sweep (`-m trainctl.replay=a,b norm=new,batch`), the keys of the other
    axes may differ from the recorded ones; keys and values may as for `own_changelog`.

    Raises:
        ChangelogError, DriftError: it is not a changelog, or of another config and that is not allowed.
    """
    path = replayed_path(settings.replay)
    if path is None:
        return None
    replay = read_replay(path)
    run = RunDir.at(path if path.is_dir() else path.parent)
    is_alone = not path.is_dir() and run.changelog != path
    base = _as_composed(replay.base, run) if is_composed and not is_alone else replay.base
    ignore = {*moment_keys(config), *drawn, *_keys_of_axes(replay.base, snapshot(config))}
    if is_composed and is_alone:  # nothing tells which keys the program had added there
        ignore |= leaves(base).keys() ^ leaves_of(config).keys()
    later = started_with(replay)
    ignore |= {key for key, value in leaves_of(config).items() if key in later and is_same(value, later[key])}
    refuse_drift(
        *(base, config, settings, None if is_alone else run),
        source=f"the replayed {settings.replay}",
        advice=_REPLAY_ADVICE,
        ignore=ignore,
        is_silent=is_silent or is_composed,
    )
    return replay


def started_with(changelog: Changelog) -> dict[str, Any]:
    """Return the values that later attempts of a recorded run were started with instead of those of step 0, by key."""
    edits = [part for edit in changelog.edits for part in edit.each if (part.id or "").startswith(STARTED)]
    return {key: value for part in edits for key, value in part.values.items()}


def _as_composed(base: Mapping[Any, Any], run: RunDir) -> dict[Any, Any]:
    """Return a recorded config as Hydra had composed it, without changes by the program."""
    composed = read_record(run, COMPOSED).get(COMPOSED)
    found = copy.deepcopy(dict(base))
    before = {str(key): value for key, value in composed.items()} if isinstance(composed, dict) else {}
    for key in (key for key, value in before.items() if value == MISSING):
        _take_away(found, split(key))
    for key, value in before.items():
        put(found, key, value)
    return found


def _take_away(container: dict[Any, Any], parts: Sequence[str]) -> None:
    """Take an entry out of nested mappings, and those that are empty without it: the program had added them for it."""
    name = name_in(container, parts[0])
    below = container.get(name)
    if len(parts) > 1 and isinstance(below, dict):
        _take_away(below, parts[1:])
    if len(parts) == 1 or below == {}:
        container.pop(name, None)


def _keys_of_axes(*configs: Mapping[Any, Any]) -> set[str]:
    """Return the keys that differ between the jobs of a sweep over schedules: those at and below each swept key."""
    swept = current_swept() or frozenset()
    if "trainctl.replay" not in swept:
        return set()
    places = tuple(key.rpartition("@")[2].replace("/", ".") for key in swept)
    return {key for config in configs for key in leaves(config) if is_within(key, places)}
