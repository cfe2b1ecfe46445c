"""A union of grids as jobs for a launcher; few of them are composed before the first one starts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from trainctl.config.grid import Axis, axis_of, check_number, choose, combine, read_grids, shuffling
from trainctl.config.settings_node import has_settings, setting
from trainctl.errors import SettingError

Job = tuple[str, ...]

log = logging.getLogger(__name__)

SEED = "trainctl.seed"
MOST_CHECKED = 8  # jobs that are composed before the first one starts; each costs 25-60 ms


class GridJobs:
    """The jobs of `hydra.sweeper.grids`.

    Args:
        config: the sweep's.
        options: the sweeper's settings.
    """

    def __init__(self, config: DictConfig, context: HydraContext, options: Mapping[str, Any]) -> None:
        self._config = config
        self._loader: Any = context.config_loader
        self._options = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in options.items()
        }

    def launch(self, launcher: Launcher, arguments: Sequence[str]) -> Sequence[JobReturn]:
        """Hand all jobs to the launcher at once: it composes each when its turn comes.

        Raises:
            SettingError: the grids or the sweeper's settings are not valid.
            HydraException: an override cannot be read, or does not fit the config.
        """
        jobs = self.jobs(arguments)
        self._check_some(jobs)
        sweep_dir = Path(str(self._config.hydra.sweep.dir))
        sweep_dir.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self._config, sweep_dir / "multirun.yaml")
        returns: Sequence[JobReturn] = launcher.launch([list(job) for job in jobs], initial_job_idx=0)
        return returns

    def jobs(self, arguments: Sequence[str]) -> list[Job]:
        """Return the override lines of every job, in order; jobs with the same lines once.

        Jobs that come to the same config are found when they are composed, and skipped by the launcher `slots`.

        Raises:
            SettingError, HydraException: as for `launch`.
        """
        options = self._options
        sample = options.get("sample")
        sample = None if sample is None else check_number("sample", sample, 1)
        seed = check_number("seed", options.get("seed", 0), 0)
        parser = OverridesParser.create(config_loader=self._loader)
        with shuffling(seed):
            grids = choose(read_grids(options.get("grids"), parser.parse_overrides), options.get("titles"))
            given = [axis_of(override) for override in parser.parse_overrides(list(arguments))]
        repeats = self._repeats([key for axis in (*given, *(a for g in grids for a in g.axes)) for key in axis.keys])
        every = list(combine(grids, [*given, *repeats], sample=sample, seed=seed))
        found: dict[frozenset[str], Job] = {}
        for job in every:
            found.setdefault(frozenset(job), job)
        equal = len(every) - len(found)
        if equal:
            log.info("%d of %d jobs are equal to earlier ones of the sweep and not run again", equal, len(every))
        return list(found.values())

    def _repeats(self, keys: Iterable[str]) -> list[Axis]:
        """Return the axis of seeds, if combinations are to be repeated."""
        seeds = check_number("seeds", self._options.get("seeds", 1), 1)
        if seeds == 1:
            return []
        if not has_settings(self._config):
            raise SettingError(
                f"hydra.sweeper.seeds={seeds} repeats jobs with values of {SEED}, but this app has no `trainctl` "
                "settings; add `trainctl` to the defaults of its config, or sweep over its own seed key"
            )
        if SEED in keys:
            raise SettingError(f"hydra.sweeper.seeds={seeds} sets {SEED}, which is set otherwise too; leave one out")
        first = setting(self._config, "seed")
        first = 0 if first is None else int(first)
        return [Axis((SEED,), tuple((f"{SEED}={seed}",) for seed in range(first, first + seeds)))]

    def _check_some(self, jobs: Sequence[Job]) -> None:
        """Compose the first jobs that say something new, so that most mistakes come to light before anything runs.

        Raises:
            HydraException: one of them does not fit the config.
        """
        seen: set[str] = set()
        checked = 0
        for job in jobs:
            if seen.issuperset(job) and checked:
                continue
            if checked == MOST_CHECKED:
                return
            seen.update(job)
            checked += 1
            self._loader.load_sweep_config(self._config, list(job))
