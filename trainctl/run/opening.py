"""Opening a live session: what it starts from is read and checked, then its pump begins to work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from trainctl.config.changelog import Changelog
from trainctl.config.controls import Key, keys_of
from trainctl.config.settings import Settings, settings_of
from trainctl.errors import RunDirError
from trainctl.run.actions import Actions
from trainctl.run.answers import Answers
from trainctl.run.applier import Applier
from trainctl.run.attempt import Attempt
from trainctl.run.flags import Flags
from trainctl.run.metrics import MetricLog
from trainctl.run.now import Now
from trainctl.run.provenance import original_cwd
from trainctl.run.pump import Position, Pump
from trainctl.run.record import Record
from trainctl.run.recovery import recover
from trainctl.run.repeats import own_repeats, replayed_repeats
from trainctl.run.replaying import Replaying
from trainctl.run.request import Request
from trainctl.run.rundir import RunDir
from trainctl.run.seed import write_seed
from trainctl.run.session import Session
from trainctl.run.start import own_changelog, replayed_changelog


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
    replay = replayed_changelog(config, settings)
    record, answers = Record(run.changelog, own), Answers(run)
    try:
        metrics = MetricLog(run.metrics, is_further=run.metrics.exists() and run.metrics.stat().st_size > 0)
        replaying = _replaying(run, settings, replay)
        seen = _write_start(attempt, record, keys, replaying)
    except OSError as error:
        raise RunDirError(f"the run dir {str(run.path)!r} cannot be written: {error.strerror or error}") from error
    applier = Applier(run, config, keys, record, answers)
    session = Session(attempt, applier, record, replaying, metrics, answers, taken, flags, show)
    session.pump = Pump(
        run, poll_s=settings.poll_s, taken=taken, seen=seen, answers=answers, metrics=metrics, position=position
    )
    session.pump.start()
    return session


def _write_start(attempt: Attempt, record: Record, keys: Mapping[str, Key], replaying: Replaying) -> set[str]:
    """Write what page and command line need to know, answer what earlier attempts left, and return what is answered.

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
    return recover(run, own, attempt.left)


def _replaying(run: RunDir, settings: Settings, replay: Changelog | None) -> Replaying:
    path = None if settings.replay is None else original_cwd() / Path(settings.replay).expanduser()
    repeats = own_repeats(run)
    if path is not None:
        repeats += replayed_repeats(path, repeats)
    return Replaying(str(run.changelog), replay, settings.replay, path, settings.replay_mode, repeats)
