"""Opening a live session: what it starts from is read and checked, then its pump begins to work."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from trainctl.attempt.attempt import Attempt
from trainctl.config.changelog import Changelog
from trainctl.config.controls import Key
from trainctl.config.editable import EditableKeys
from trainctl.config.loaded import comments_of, kept_copies
from trainctl.config.settings import Settings, recorded, settings_of
from trainctl.config.settings_node import hydra_config
from trainctl.errors import RunDirError
from trainctl.rundir import files
from trainctl.rundir.edits import applied_edits
from trainctl.rundir.events import Answers, latest, read_events
from trainctl.rundir.metrics import MetricLog
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import original_cwd
from trainctl.rundir.request import Request
from trainctl.rundir.seed import note_seed, write_seed
from trainctl.rundir.summary import read_record
from trainctl.session.actions import Actions
from trainctl.session.apply import Applier
from trainctl.session.asks import Asks
from trainctl.session.changelog_file import ChangelogFile
from trainctl.session.flags import Flags
from trainctl.session.io_thread import Position, Pump
from trainctl.session.reads import Reads
from trainctl.session.recovery import recover
from trainctl.session.replay import Replaying
from trainctl.session.schedule import own_repeats, replayed_repeats
from trainctl.session.start_check import COMPOSED, own_changelog, replayed_changelog
from trainctl.session.start_values import changes_since, set_by_program, take_recorded
from trainctl.session.step import Session
from trainctl.session.values import Listeners, Now

log = logging.getLogger(__name__)


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
    is_first, earlier = not os.path.lexists(run.changelog), read_record(run, "drawn", COMPOSED)
    before = earlier["drawn"] if isinstance(earlier.get("drawn"), dict) else {}
    own = own_changelog(run, config, settings, before)
    replay = replayed_changelog(config, settings, before)
    records = [each for each in (None if is_first else own, replay) if each is not None]
    drawn = take_recorded(config, records, before, settings.hidden)
    keys = EditableKeys(config, settings.controls, editable=settings.editable)
    keys = keys.with_help(comments_of(kept_copies(config.get("hydra") or hydra_config())))
    if is_first:
        own = Changelog(recorded(config))
    note_seed(own.base, attempt.seed)
    said = read_events(run)
    record, answers = ChangelogFile(run.changelog, own, applied_edits(own, said)), Answers(run)
    try:
        metrics = MetricLog(run.metrics, is_further=run.metrics.exists() and run.metrics.stat().st_size > 0)
        replaying = _replaying(run, settings, replay)
        composed = set_by_program(attempt.composed, config, drawn) if is_first else earlier.get(COMPOSED)
        facts = {"drawn": drawn, COMPOSED: composed}
        _write_start(attempt, record, keys, replaying, {name: values for name, values in facts.items() if values})
        seen = recover(run, record.applied, latest(said), attempt.left)
    except OSError as error:
        raise RunDirError(f"the run dir {str(run.path)!r} cannot be written: {error.strerror or error}") from error
    listeners, reads = Listeners(show), Reads(config, lambda: position().step, answers.give)
    applier = Applier(run, config, keys, record, answers, listeners, reads)
    asks = Asks(flags, lambda: position().step, answers.give)
    session = Session(attempt, applier, record, replaying, metrics, answers, taken, flags, listeners, reads, asks)
    applier.touched.update(drawn)  # other ranks have drawn others
    session.started_with = changes_since(own, config)
    session.pump = Pump(
        run, poll_s=settings.poll_s, taken=taken, seen=seen, answers=answers, metrics=metrics, position=position,
        reads=reads, asks=asks,
    )  # fmt: skip
    session.pump.start()
    return session


def _write_start(
    attempt: Attempt, record: ChangelogFile, keys: Mapping[str, Key], replaying: Replaying, more: Mapping[str, Any]
) -> None:
    """Write what page and command line need to know, and `more`.

    Raises:
        OSError: it cannot be written.
    """
    run, own = attempt.run, record.changelog
    if record.has_rest or not os.path.lexists(run.changelog):
        record.write()
    for path in (run.events, run.metrics):
        os.close(files.open_to_write(path, os.O_WRONLY | os.O_CREAT))  # nothing asked for is an answer too
    facts: dict[str, Any] = {"keys": {name: key.to_dict() for name, key in keys.items()}}
    facts |= {"actions": Actions().to_dict(), **more}
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
