"""A union of grids as jobs for a launcher: equal jobs once, and few of them composed before the first one starts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainctl.config.grid import Axis, axis_of, check_number, choose, combine, read_grids, shuffling
from trainctl.errors import SettingError
from trainctl.launch.overrides import parse_overrides

log = logging.getLogger(__name__)

SEED = "trainctl.seed"
MOST_CHECKED = 8  # jobs that are composed before the first one starts; each costs 25-60 ms
MOST_BASES = 64  # choices of groups whose config is looked at to tell equal jobs

Job = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    """An override line, read."""

    text: str
    key: str
    value: Any
    is_option: bool

    @staticmethod
    def worth(value: Any) -> str:
        """Return what is equal for equal values of one type."""
        kind = "str" if isinstance(value, str) else type(value).__name__
        return f"{kind} {value!r}"


class GridJobs:
    """The jobs of `hydra.sweeper.grids`, and what it takes to tell which of them are the same."""

    def __init__(self, config: DictConfig, context: HydraContext, options: Mapping[str, Any]) -> None:
        self._config = config
        self._loader: Any = context.config_loader
        self._options = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in options.items()
        }
        self._lines: dict[str, _Line] = {}
        self._own: dict[tuple[tuple[str, ...], str], str | None] = {}
        self._bases: dict[tuple[str, ...], DictConfig | None] = {}
        self._needed: dict[tuple[str, ...], tuple[str, ...]] = {}

    def launch(self, launcher: Launcher, arguments: Sequence[str]) -> Sequence[JobReturn]:
        """Hand all jobs to the launcher at once: it composes each when its turn comes.

        Raises:
            SettingError: the grids or the sweeper's settings are not as they should be.
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
        """Return the override lines of every job, in order, equal jobs once.

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
        lines = combine(grids, [*given, *repeats], sample=sample, seed=seed)
        likeness: Callable[[Job], Hashable] = self._likeness if len(grids) > 1 else frozenset
        found: dict[Hashable, Job] = {}
        total = 0
        for total, job in enumerate(lines, 1):  # noqa: B007  # how many there were, is said below
            found.setdefault(likeness(job), job)
        if total > len(found):
            log.info(
                "%d of %d jobs are equal to earlier ones of the sweep and not run again", total - len(found), total
            )
        return list(found.values())

    def _repeats(self, keys: Iterable[str]) -> list[Axis]:
        """Return the axis of seeds, if combinations are to be repeated."""
        seeds = check_number("seeds", self._options.get("seeds", 1), 1)
        if seeds == 1:
            return []
        if OmegaConf.select(self._config, "trainctl") is None:
            raise SettingError(
                f"hydra.sweeper.seeds={seeds} repeats jobs with values of {SEED}, but this app has no `trainctl` "
                "settings; add `trainctl` to the defaults of its config, or sweep over a seed key of its own"
            )
        if SEED in keys:
            raise SettingError(f"hydra.sweeper.seeds={seeds} sets {SEED}, which is set otherwise too; leave one out")
        first = OmegaConf.select(self._config, SEED)
        first = 0 if first is None else int(first)
        return [Axis((SEED,), tuple((f"{SEED}={seed}",) for seed in range(first, first + seeds)))]

    # -- telling equal jobs --------------------------------------------------------------------------------------

    def _likeness(self, job: Job) -> Hashable:
        """Return what two jobs have in common only if they choose the same options, and the same values otherwise.

        An option that is chosen anyway, and a value that the config has anyway with these options, make no difference.
        """
        lines = [self._read(line) for line in job]
        chosen = self._chosen(tuple(sorted(line.text for line in lines if line.is_option)))
        said = (self._said(chosen, line) for line in lines if not line.is_option)
        return chosen, frozenset(each for each in said if each is not None)

    def _chosen(self, options: tuple[str, ...]) -> tuple[str, ...]:
        """Return the options without those that the others choose too; only a default of the app is looked at."""
        if options not in self._needed:
            needed = options
            for text in options:
                line = self._read(text)
                rest = tuple(each for each in needed if each != text)
                if all(self._choice(among, line.key) == str(line.value) for among in ((), rest)):
                    needed = rest
            self._needed[options] = needed
        return self._needed[options]

    def _choice(self, options: tuple[str, ...], group: str) -> str | None:
        base = self._base(options)
        return None if base is None else OmegaConf.select(base, "hydra.runtime.choices").get(group)

    def _read(self, text: str) -> _Line:
        """Tell the choice of a group, or a change of what keys there are, from the value of a key."""
        line = self._lines.get(text)
        if line is None:
            (override,) = parse_overrides([text.lstrip("+")])  # which says how a key is set, and not to what
            key, value = override.key_or_group, override.value()
            is_plain = override.type is OverrideType.CHANGE and override.package is None
            is_option = not is_plain or isinstance(value, dict) or override.is_hydra_override()
            line = _Line(text, key, value, is_option or self._loader.repository.group_exists(key))
            self._lines[text] = line
        return line

    def _said(self, options: tuple[str, ...], line: _Line) -> tuple[str, str] | None:
        """Return key and value of a line; None when the config with these options says the same."""
        place = (options, line.key)
        if place not in self._own:
            base = self._base(options)
            self._own[place] = None if base is None else _own_value(base, line.key)
        said = _Line.worth(line.value)
        return None if said == self._own[place] else (line.key, said)

    def _base(self, options: tuple[str, ...]) -> DictConfig | None:
        """Return the config with these options and nothing else; None where it does not compose, or there are many."""
        if options not in self._bases:
            if len(self._bases) >= MOST_BASES:
                return None
            try:
                self._bases[options] = self._loader.load_sweep_config(self._config, list(options))
            except Exception:  # noqa: BLE001  # the values may be what makes it complete; composing the job tells
                self._bases[options] = None
        return self._bases[options]

    # -- checking ------------------------------------------------------------------------------------------------

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


def _own_value(config: DictConfig, key: str) -> str | None:
    """Return what a config says of a key in its own words: not by an interpolation, which may change; else None."""
    parent, _, name = key.rpartition(".")
    try:
        node = OmegaConf.select(config, parent) if parent else config
        if not isinstance(node, DictConfig) or name not in node or OmegaConf.is_interpolation(node, name):
            return None
        found = node[name]
    except OmegaConfBaseException:
        return None
    return None if OmegaConf.is_config(found) else _Line.worth(found)
