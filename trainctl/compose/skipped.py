"""Jobs of a sweep whose options do not go together: none of them is launched."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from trainctl.compose.pairs import FittingLoader, Refused, known_to_hydra
from trainctl.config.overrides import shared_texts
from trainctl.config.settings_node import setting
from trainctl.rundir import files
from trainctl.rundir.sweep import left_out_file
from trainctl.text import clean_line


class FittingSweep:
    """Launches those jobs of a sweep that fit.

    Args:
        launcher: runs the jobs.
        loader: tells which jobs fit.
        config: the sweep's config.
    """

    def __init__(self, launcher: Any, loader: FittingLoader, config: DictConfig) -> None:
        self._launcher = launcher
        self._loader = loader
        self._config = config
        self._is_strict = setting(config, "incompatible", "skip") == "error"
        self._is_preview = bool(OmegaConf.select(config, "hydra.launcher.dry_run", default=False))
        with known_to_hydra(config):
            self._sweep_dir = Path(str(config.hydra.sweep.dir)).absolute()
        self._written: dict[str, str] = {}

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Return a JobReturn for every job in order; a job that was left out counts as done, without a value.

        Raises:
            Refused: some do not fit, and so none may be started.
        """
        obstacles = [self._loader.obstacle(self._config, overrides) for overrides in job_overrides]
        self._loader.warn_of_missing()
        same = shared_texts(self._config.hydra)
        out = {
            " ".join(text for text in job if text not in same): why
            for job, why in zip(job_overrides, obstacles, strict=True)
            if why is not None
        }
        if out and self._is_strict:
            raise Refused(f"{_count(obstacles)} do not fit, and trainctl.incompatible=error: {_listed(out)}")
        for overrides, why in out.items():
            _say(f"LEFT OUT {overrides}: {why}")
        self._record(out)
        kept = [job for job, why in zip(job_overrides, obstacles, strict=True) if why is None]
        self._loader.counts.update({"launched": len(kept), "left out": len(job_overrides) - len(kept)})
        returned = iter(self._launcher.launch(kept, initial_job_idx) if kept else [])
        if out:
            _say(f"{_count(obstacles)} were left out: their options do not go together")
        return [
            next(returned) if why is None else JobReturn(overrides=list(job), status=JobStatus.COMPLETED)
            for job, why in zip(job_overrides, obstacles, strict=True)
        ]

    def _record(self, out: Mapping[str, str]) -> None:
        if self._is_preview:
            return
        self._written |= out
        path = left_out_file(self._sweep_dir)
        if self._written:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.write_yaml(path, dict(self._written))
        elif path.exists():
            os.unlink(path)


def _say(line: str) -> None:
    sys.stderr.write(f"{clean_line(line)}\n")
    sys.stderr.flush()


def _count(obstacles: Sequence[str | None]) -> str:
    return f"{sum(why is not None for why in obstacles)} of {len(obstacles)} jobs"


def _listed(out: Mapping[str, str]) -> str:
    return "; ".join(f"{overrides} ({why})" for overrides, why in out.items())
