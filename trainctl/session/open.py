"""Opening a live session: read and check what it starts from, then start its I/O thread."""

from __future__ import annotations

from collections.abc import Callable

from omegaconf import DictConfig

from trainctl.attempt.attempt import Attempt
from trainctl.config.editable import EditableKeys
from trainctl.config.loaded import comments_of, kept_copies
from trainctl.config.settings import settings_of
from trainctl.config.settings_node import hydra_config
from trainctl.session.apply import Applier
from trainctl.session.flags import Asks, Flags
from trainctl.session.io_thread import Position, Pump
from trainctl.session.reads import Reads
from trainctl.session.replay import replay_plan
from trainctl.session.run_files import open_files
from trainctl.session.start_values import start_values
from trainctl.session.step import Session
from trainctl.session.values import Listeners, Now

Where = tuple[int, int | None, tuple[int, int]]  # the first fields of a `Position` but `is_paused`


def open_session(
    config: DictConfig,
    attempt: Attempt,
    *,
    where: Callable[[], Where],
    show: Callable[[Now], None],
) -> Session:
    """Read and check what an attempt starts from, write step 0 of the changelog, and start the I/O thread.

    The thread calls `where` for step, total and stretch of the training; `show` gets the new values after each edit.

    Raises:
        SettingError, ChangelogError, DriftError, RunDirError: nothing is started then.
    """
    settings, start = settings_of(config), start_values(config, attempt)
    keys = EditableKeys(config, settings.controls, editable=settings.editable)
    keys = keys.with_help(comments_of(kept_copies(config.get("hydra") or hydra_config())))
    replay = replay_plan(attempt.run, settings, start.replay)
    facts = {**start.facts, "parent": replay.parent(start.own)}
    files = open_files(attempt, start.own, keys, {name: fact for name, fact in facts.items() if fact})
    reads = Reads(config, lambda: where()[0], files.answers.give)
    applier = Applier(config, keys, files.record, files.answers, Listeners(show), reads)
    applier.touched.update(start.drawn)  # other ranks have drawn others
    asks = Asks(Flags(), lambda: where()[0], files.answers.give)
    session = Session(attempt, applier, replay, files.metrics, asks)
    session.started_with = start.changed

    def position() -> Position:
        is_paused = session.runner.is_paused  # before what may outrun it
        step, total, stretch = where()
        return Position(step, total, is_paused, stretch)

    session.pump = Pump(
        attempt.run, poll_s=settings.poll_s, taken=session.intake.taken, seen=files.seen, answers=files.answers,
        metrics=files.metrics, position=position, reads=reads, asks=asks,
    )  # fmt: skip
    session.pump.start()
    return session
