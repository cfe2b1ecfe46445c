"""A run that neither launcher nor callback began: `trainctl.live(cfg)` in any script."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from omegaconf import DictConfig

from trainctl.errors import RunDirError
from trainctl.run import inherited
from trainctl.run.attempt import Attempt
from trainctl.run.guest import Guest
from trainctl.run.lock import is_locked
from trainctl.run.provenance import hydra_config
from trainctl.run.rundir import RunDir


def begin_plain(config: DictConfig, run_dir: str | os.PathLike[str] | None) -> Attempt:
    """Begin an attempt in `run_dir`; else in Hydra's output dir; else in `outputs/<script name>/<date>_<time>`.

    A rank that a job has started begins nothing where its job runs already: it opens the session there.

    Raises:
        RunDirError: another process runs there, or it cannot be made.
    """
    hydra = hydra_config()
    path = Path(run_dir or hydra.runtime.output_dir) if run_dir is not None or hydra is not None else None
    host = inherited.offered(path)
    if host is not None and is_locked(host.lock):
        return Guest.enter(host, config)
    return Attempt.begin(RunDir.at(path or _new_dir()), config=config)


def _new_dir() -> Path:
    script = Path(getattr(sys.modules.get("__main__"), "__file__", None) or "python").stem
    path = Path("outputs") / script / time.strftime("%Y-%m-%d_%H-%M-%S")
    for number in range(1, 1000):
        numbered = path if number == 1 else path.with_name(f"{path.name}.{number}")
        try:
            numbered.mkdir(parents=True, mode=0o700)
        except FileExistsError:
            continue  # another run that started in this second
        except OSError as error:
            raise RunDirError(f"the run dir {str(numbered)!r} cannot be made: {error.strerror or error}") from error
        return numbered
    raise RunDirError(f"the run dir {str(path)!r} cannot be made: 999 runs started in this second")
