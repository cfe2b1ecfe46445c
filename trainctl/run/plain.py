"""A run that neither launcher nor callback began: `trainctl.live(cfg)` in any script."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from trainctl.config.identity import identity
from trainctl.config.settings import settings_of
from trainctl.errors import RunDirError
from trainctl.run.attempt import Attempt
from trainctl.run.provenance import machine_facts
from trainctl.run.rundir import RunDir


def begin_plain(config: DictConfig, run_dir: str | os.PathLike[str] | None) -> Attempt:
    """Begin an attempt in `run_dir`; else in Hydra's output dir; else in `outputs/<script name>/<date>_<time>`.

    Raises:
        RunDirError: another process runs there, or it cannot be made.
    """
    hydra = _hydra()
    if run_dir is not None:
        path = Path(run_dir)
    elif hydra is not None:
        path = Path(hydra.runtime.output_dir)
    else:
        path = _new_dir()
    overrides = [str(override) for override in hydra.overrides.task] if hydra is not None else []
    facts = {
        "identity": identity(config, settings_of(config).identity.exclude),
        "overrides": overrides,
        "argv": list(sys.argv),
        **machine_facts(),
    }
    return Attempt.begin(RunDir.at(path), config=config, facts=facts)


def original_cwd() -> Path:
    """Return where the program was started: Hydra may have gone to the output dir since."""
    hydra = _hydra()
    return Path(hydra.runtime.cwd) if hydra is not None else Path.cwd()


def _hydra() -> Any:
    """Return Hydra's own config when a Hydra application is running; Hydra is never imported for this."""
    module = sys.modules.get("hydra.core.hydra_config")
    if module is None or not module.HydraConfig.initialized():
        return None
    return module.HydraConfig.get()


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
