"""Adapting a config to its pair of options (`trainctl.pairs`) wherever Hydra composes it, for a run or a job."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.errors import CompactHydraException, HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, open_dict, read_write

from trainctl.compose import _hydra
from trainctl.config._omegaconf import entries, plain, take_over
from trainctl.config.given import check_missing, missing_keys
from trainctl.config.keys import leaves
from trainctl.config.loaded import kept_copies, values_of
from trainctl.config.overrides import override_key, parse_overrides, texts_of
from trainctl.config.pairs import PAIR_NODE, Pairs
from trainctl.config.settings_node import move_settings, setting
from trainctl.config.values import is_same
from trainctl.errors import CommandError, IncompatibleError, PairError, TrainctlError

_LAUNCHER = {"_target_": "hydra_plugins.hydra_trainctl.fitting.FittingLauncher"}
_ADVICE = "; give them in a file or as KEY=VALUE, or let them be missing with trainctl.missing=allow"
_WARNING = (
    "jobs of this sweep have no value for %s: a task that reads such a key fails unless the program sets it before "
    "(trainctl.missing=error refuses the sweep)"
)

log = logging.getLogger(__name__)
_ABSENT = object()


class Refused(PairError, CompactHydraException):
    """A refusal by trainctl, of which Hydra prints only the sentence, without a traceback."""


class SweepRefused(Refused):
    """A refusal of all jobs: none is started."""


class FittingLoader:
    """A config loader whose `load_sweep_config` gives configs that fit their pairs and lack no value.

    It goes where the loader goes: to the sweeper, to any launcher, and into the processes of jobs.

    Attributes:
        loader: composes the configs.
        launcher: the launcher's config, where jobs whose options do not go together are left out; else they are errors.
        left_out: why, by overrides.
        counts: how many jobs were launched, and how many left out.
        lacking: keys without a value in a job composed so far, and whether the user has been told.
        checks: called with each job's config, but in processes that unpickle this; a CommandError refuses the sweep.
    """

    def __init__(self, loader: Any, launcher: DictConfig | None) -> None:
        self.loader = loader
        self.launcher = launcher
        self.left_out: dict[tuple[str, ...], str] = {}
        self.counts: Counter[str] = Counter()
        self.lacking: dict[str, bool] = {}
        self.checks: list[Callable[[DictConfig], None]] = []
        self._complete: set[tuple[str, ...]] = set()
        self._obstacles: dict[tuple[str, ...], str | None] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "loader":  # unpickling asks before there is a loader
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what is known of other jobs; other processes start them, so this is the last moment to warn."""
        self.warn_of_missing()
        return {**self.__dict__, "left_out": {}, "checks": [], "_complete": set(), "_obstacles": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Compose one job's config from the sweep's and the job's overrides.

        Raises:
            Refused: it cannot be fitted, or lacks values.
            HydraException: as Hydra's own loader raises it.
        """
        return self.compose(master_config, parse_overrides(sweep_overrides))

    def compose(self, master_config: DictConfig, overrides: Sequence[Override]) -> DictConfig:
        """Do the same with overrides that are parsed already.

        Raises:
            Refused, HydraException: as `load_sweep_config`.
        """
        config = compose_parsed(self.loader, master_config, overrides)
        move_settings(config)
        job = tuple(texts_of(overrides))
        try:
            fit(config)
            if job not in self._complete:
                check_complete(config)
                for check in self.checks:
                    check(config)
                self.lacking = dict.fromkeys(missing_keys(config), False) | self.lacking
                self._complete.add(job)
        except IncompatibleError as error:
            if self.launcher is None:
                raise Refused(str(error)) from error
            self.left_out[job] = str(error)
        except CommandError as error:
            raise SweepRefused(str(error)) from error
        except TrainctlError as error:
            raise Refused(str(error)) from error
        return config

    def foresee(self, master: DictConfig, jobs: Sequence[Sequence[Override]]) -> None:
        """Warn of missing values before the jobs start, whether or not the sweeper has had them composed.

        Raises:
            SweepRefused: a check refuses a job.
        """
        for job in jobs:
            try:
                self.obstacle(master, texts_of(job))
            except SweepRefused:
                raise
            except (HydraException, TrainctlError):
                pass  # the job itself will fail, and say so
        self.warn_of_missing()

    def warn_of_missing(self) -> None:
        """Name each key without a value once."""
        if new := [key for key, is_told in self.lacking.items() if not is_told]:
            log.warning(_WARNING, ", ".join(sorted(new)))
            self.lacking = dict.fromkeys(self.lacking, True)

    def obstacle(self, master: DictConfig, overrides: Sequence[str]) -> str | None:
        """Return why a job is to be left out, if it is; jobs with the same options are composed once."""
        job = tuple(overrides)
        if job in self._complete or job in self.left_out:
            return self.left_out.get(job)
        choices = tuple(text for text in job if _may_choose(text, master))
        if choices not in self._obstacles:
            self.load_sweep_config(master, list(overrides))
            self._obstacles[choices] = self.left_out.get(job)
        return self._obstacles[choices]


def compose_parsed(loader: Any, master: DictConfig, overrides: Sequence[Override]) -> DictConfig:
    """Compose one job's config by any config loader; Hydra's own takes the overrides as texts."""
    compose = getattr(type(loader), "compose", None)
    config: DictConfig = (
        loader.load_sweep_config(master, texts_of(overrides)) if compose is None else compose(loader, master, overrides)
    )
    return config


def fit_sweep(config: DictConfig) -> None:
    """Have the jobs of the sweep that is about to start fitted to their pairs, by whatever sweeper and launcher."""
    loader = _hydra.current_loader()
    if loader is None:
        return
    if isinstance(loader, FittingLoader):
        loader = loader.loader
    launcher = None
    if _registry(config) is not None:
        launcher = config.hydra.launcher
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.launcher = dict(_LAUNCHER)
    _hydra.replace_loader(FittingLoader(loader, launcher))


def check_each_job(check: Callable[[DictConfig], None]) -> None:
    """Have the config of each job of the sweep that is about to start looked at before the first one starts."""
    loader = _hydra.current_loader()
    if isinstance(loader, FittingLoader):
        loader.checks.append(check)


def warn_of_missing() -> None:
    """Warn of the values that jobs lack, where this process composes the jobs of a sweep and runs them itself."""
    loader = _hydra.current_loader()
    if isinstance(loader, FittingLoader):
        loader.warn_of_missing()


def check_any_left() -> None:
    """Refuse a sweep of which every job was left out, when it has ended.

    Raises:
        IncompatibleError: nothing was run.
    """
    loader = _hydra.current_loader()
    if isinstance(loader, FittingLoader) and loader.counts["left out"] and not loader.counts["launched"]:
        jobs = loader.counts["left out"]
        raise IncompatibleError(f"nothing was run: the options of all {jobs} jobs do not go together")


def check_complete(config: DictConfig) -> None:
    """Refuse a config that lacks values, if it may not.

    Raises:
        MissingError: naming all of them.
    """
    if setting(config, "missing", "allow") == "error":
        check_missing(config, advice=_ADVICE)


def fit(config: DictConfig) -> None:
    """Fit a composed config to its pair, in place, if a registry of pairs is set.

    Args:
        config: with Hydra's node.

    Raises:
        IncompatibleError, PairError: as `Pairs.adapt` raises them.
    """
    path = _registry(config)
    if path is None:
        return
    pairs = load_pairs(path)
    try:
        with known_to_hydra(config):
            adapted = pairs.adapt(config, config.hydra, _keys_of_earlier_run(config))
            said = pairs.said_of(config, config.hydra)
    except TrainctlError:
        raise
    except Exception as error:  # Hydra only warns of a callback's error, and the run would go on without its pair
        raise PairError(f"trainctl.pairs={path}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    changed: list[str] = []
    if adapted is not config:
        before, after = raw_leaves(config), raw_leaves(adapted)
        changed = [key for key in {**before, **after} if not is_same(before.get(key, _ABSENT), after.get(key, _ABSENT))]
        take_over(config, adapted, keep=("hydra",))
    with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
        config.hydra.runtime[PAIR_NODE] = {"pair": said, "keys": sorted(changed)}


def load_pairs(path: str) -> Pairs:
    """Import a registry.

    Raises:
        PairError: there is no such thing, or it is something else.
    """
    try:
        found = get_object(path)
    except Exception as error:  # importing a module of the user's raises whatever it likes
        raise PairError(f"trainctl.pairs={path} cannot be imported: {' '.join(str(error).split())}") from error
    if not isinstance(found, Pairs):
        raise PairError(f"trainctl.pairs={path} is a {type(found).__name__}, not a trainctl.Pairs")
    return found


@contextlib.contextmanager
def known_to_hydra(config: DictConfig) -> Iterator[None]:
    """Let `${hydra:…}` resolve inside the block: Hydra itself makes the config known only when the job begins."""
    singleton: Any = HydraConfig.instance()
    before, singleton.cfg = singleton.cfg, config
    try:
        yield
    finally:
        singleton.cfg = before


def _may_choose(override: str, master: DictConfig) -> bool:
    """Whether an override may change which options go into a config, or which registry judges them."""
    key = override_key(override)
    return (
        override[:1] in "+~"
        or any(mark in key for mark in "/@")
        or key in master.hydra.runtime.choices
        or key.endswith(".name")
        or key.startswith("trainctl.")
    )


def _registry(config: DictConfig) -> str | None:
    """Return `trainctl.pairs`, if it is set."""
    path = setting(config, "pairs")
    return None if path is None else str(path)


def raw_leaves(config: DictConfig) -> dict[str, Any]:
    """Return the values of the task's dotted keys, unresolved, past OmegaConf's own access; lists are values."""
    return leaves({key: plain(node) for key, node in entries(config) if key != "hydra"})


def _keys_of_earlier_run(config: DictConfig) -> list[str]:
    """Return the keys whose value was taken from an earlier run (`+from=`): it wins over the pair's."""
    copies = kept_copies(config.hydra)
    if not copies:
        return []
    loaded = {key: value for each in copies for key, value in values_of(each).items()}
    return [key for key, value in raw_leaves(config).items() if key in loaded and _is_taken(value, loaded[key])]


def _is_taken(value: Any, loaded: Any) -> bool:
    """Whether a value may be what was loaded, which is text or has lost its type in some sources."""
    return bool(value == loaded or str(value).lower() == str(loaded).lower())
