"""What the ranks of a run agree on before they can talk to each other: whose run it is, and when it began."""

from __future__ import annotations

import contextlib
import os
import time
from datetime import datetime
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, flag_override

from trainctl.attempt import environment
from trainctl.attempt.host_dir import host_dir
from trainctl.rundir.lock import is_locked
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import process_started

_NAME = "ranks-{agent}-{started}"
_KEPT_S = 24 * 3600  # an agent that no longer runs starts no ranks


def host_of_ranks(config: DictConfig) -> RunDir | None:
    """Return the run of the job that has started this rank; None where the command line names another run dir."""
    host = environment.offered()
    named = any(each.startswith("hydra.run.dir=") for each in config.hydra.overrides.hydra)
    return None if host is None or named or not is_locked(host.lock) else host


def join(config: DictConfig, host: RunDir) -> None:
    """Have a rank's Hydra use the run dir of the job that has started it."""
    with flag_override(config, ["readonly", "struct"], False):
        config.hydra.run.dir = str(host.path)


def share_time(config: DictConfig) -> None:
    """Give `${now:…}` the same value in all ranks that one torchrun starts on a machine, however late they come.

    So a run dir with the time in its name is one directory. The ranks that torchrun starts again have it, too.
    """
    began = _began()
    if began is None:
        return
    OmegaConf.register_new_resolver("now", began.strftime, use_cache=True, replace=True)
    OmegaConf.get_cache(config).pop("now", None)


def _began() -> datetime | None:
    """Return the time that the first rank has noted; None outside torchrun, or if it cannot be noted."""
    agent = os.getppid()
    started = process_started(agent)
    if "TORCHELASTIC_RUN_ID" not in os.environ or started is None:
        return None
    try:
        path = host_dir() / _NAME.format(agent=agent, started=started)
        if not path.exists():
            _note(path, datetime.now().astimezone())
        return datetime.fromisoformat(path.read_text())
    except (OSError, ValueError):
        return None


def _note(path: Path, moment: datetime) -> None:
    """Write a time to a new file; a file that another rank has made meanwhile is left alone."""
    written = path.with_name(f"{path.name}.{os.getpid()}")
    written.write_text(moment.isoformat())
    with contextlib.suppress(FileExistsError):
        os.link(written, path)
    written.unlink()
    for earlier in path.parent.glob(_NAME.format(agent="*", started="*")):
        with contextlib.suppress(OSError):
            if time.time() - earlier.stat().st_mtime > _KEPT_S and not _has_agent(earlier):
                earlier.unlink()


def _has_agent(path: Path) -> bool:
    agent, _, started = path.name.removeprefix("ranks-").partition("-")
    return agent.isdecimal() and str(process_started(int(agent))) == started
