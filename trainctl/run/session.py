"""What a live session works with: the changelog, the schedule, the keys, and the pump beside the training."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf, flag_override

from trainctl.config.controls import keys_of
from trainctl.config.settings import settings_of
from trainctl.errors import RunDirError
from trainctl.run.answers import Answers
from trainctl.run.applier import Applier
from trainctl.run.attempt import Attempt
from trainctl.run.metrics import MetricLog
from trainctl.run.pump import Pump
from trainctl.run.record import Record
from trainctl.run.recovery import recover
from trainctl.run.request import Request
from trainctl.run.schedule import Schedule, plan
from trainctl.run.start import own_changelog, replayed_changelog


@dataclass(frozen=True, slots=True)
class Session:
    """The parts of one live session; only rank 0 has them."""

    applier: Applier
    schedule: Schedule
    metrics: MetricLog
    answers: Answers
    pump: Pump
    replay: str | None


def open_session(
    config: DictConfig, attempt: Attempt, taken: deque[Request], position: Callable[[], tuple[int, int | None]]
) -> Session:
    """Read and check what an attempt starts from, write the changelog's step 0, and start its pump.

    Raises:
        SettingError, ChangelogError, DriftError, RunDirError: nothing is started then.
    """
    run, settings = attempt.run, settings_of(config)
    if config.get("trainctl") is not None and settings.seed is None:
        with flag_override(config, "readonly", False):  # so that the changelog alone is enough to repeat the run
            OmegaConf.update(config, "trainctl.seed", attempt.seed, force_add=True)
    keys = keys_of(config, settings.controls, settings.editable)
    own = own_changelog(run, config)
    replay = replayed_changelog(config, settings)
    record = Record(run.changelog, own)
    answers, metrics = Answers(run), MetricLog(run.metrics)
    try:
        if not run.changelog.exists():
            record.write()
        for path in (run.events, run.metrics):
            path.touch(mode=0o600)  # nothing asked for and nothing logged is an answer too
        attempt.update_run_yaml(keys={name: key.to_dict() for name, key in keys.items()})
        seen = recover(run, own, before=attempt.status.started if attempt.number > 1 else None)
    except OSError as error:
        raise RunDirError(f"the run dir {str(run.path)!r} cannot be written: {error.strerror or error}") from error
    schedule = plan(own, str(run.changelog), replay, f"the replayed {settings.replay}")
    applier = Applier(run, config, keys, record, answers)
    pump = Pump(
        run, poll_s=settings.poll_s, taken=taken, seen=seen, answers=answers, metrics=metrics, position=position
    )
    pump.start()
    return Session(applier, schedule, metrics, answers, pump, settings.replay)
