"""Composing many jobs that differ only in values: once per set of group choices, then the last step on a copy.

Hydra composes every job of a sweep twice, 25-75 ms each time: once to validate it, once to run it. What takes the time
is the search for config files, their parsing and merging; overriding values in the result takes next to nothing.
The sweeper and the launcher share one HydraContext, so a loader put there serves both.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf

from trainctl.compose.frozen import FrozenRepository
from trainctl.compose.pairs import FittingLoader
from trainctl.config.overrides import parse_overrides, texts_of

# Internals of Hydra are used below that no release promises; each minor release is to be looked at before it is added.
_FREEZABLE = ("1.3.", "1.4.")
_SHAREABLE = ("1.3.",)  # 1.4 may rewrite overrides (aliases) on their way into the config


def share_compositions(context: Any) -> None:
    """Freeze the config files and put a `SharingLoader` in place of a loader, as far as these are known."""
    fitting = context.config_loader
    if isinstance(fitting, FittingLoader):
        fitting.loader = _shared(fitting.loader)
    else:
        context.config_loader = _shared(context.config_loader)


def _shared(loader: Any) -> Any:
    if type(loader) is not ConfigLoaderImpl:
        return loader
    if hydra.__version__.startswith(_FREEZABLE):
        loader.repository = FrozenRepository(loader.repository)
    return SharingLoader(loader) if hydra.__version__.startswith(_SHAREABLE) else loader


class SharingLoader:
    """A config loader whose `load_sweep_config` gives what Hydra's own gives, sooner. Everything else is passed on.

    Jobs share a composition when they differ only in plain `key=value` overrides whose key is no group, and which
    no other change of the config (`+`, `++`, `~`, a dict for a group) follows: Hydra applies these last, in order,
    to a config that depends on the group choices alone. Whatever is not provably the same is composed in full.
    """

    def __init__(self, loader: ConfigLoaderImpl) -> None:
        self._loader = loader
        self._shared: dict[tuple[str, ...], bytes | None] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_loader":  # unpickling asks before there is a loader
            raise AttributeError(name)
        return getattr(self._loader, name)

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Compose one job's config from the sweep's and the job's overrides.

        Raises:
            HydraException: as Hydra's own loader raises it.
        """
        return self.compose(master_config, parse_overrides(sweep_overrides))

    def compose(self, master_config: DictConfig, overrides: Sequence[Override]) -> DictConfig:
        """Do the same with overrides that are parsed already.

        Raises:
            HydraException: as Hydra's own loader raises it.
        """
        from hydra._internal.config_loader_impl import get_overrides_dirname  # not there in 1.4, where this is not used

        if self._must_be_whole(master_config, overrides):
            return self._loader.load_sweep_config(master_config, texts_of(overrides))
        values = self._last_values(overrides)
        apart = {id(override) for override in values}
        shared = self._shared_composition(master_config, [each for each in overrides if id(each) not in apart])
        if shared is None:
            return self._loader.load_sweep_config(master_config, texts_of(overrides))
        config: DictConfig = pickle.loads(shared)
        self._loader._apply_overrides_to_config(values, config)
        config.hydra.overrides.task = texts_of(overrides)
        options = config.hydra.job.config.override_dirname
        config.hydra.job.override_dirname = get_overrides_dirname(
            overrides=list(overrides),
            kv_sep=options.kv_sep,
            item_sep=options.item_sep,
            exclude_keys=options.exclude_keys,
        )
        OmegaConf.copy_cache(from_config=master_config, to_config=config)
        return config

    def _must_be_whole(self, master: DictConfig, overrides: Sequence[Override]) -> bool:
        """Say whether Hydra itself is changed by the job, or looks for groups in places that we do not know."""
        return bool(master.hydra.searchpath) or any(override.is_hydra_override() for override in overrides)

    def _last_values(self, overrides: Sequence[Override]) -> list[Override]:
        """Return the plain changes of values that no other change of the config follows."""
        values: list[Override] = []
        for override in reversed(overrides):
            if self._is_group(override):
                continue
            if not _is_plain(override):
                break
            values.append(override)
        return values[::-1]

    def _is_group(self, override: Override) -> bool:
        """Tell a choice from a change of values as `hydra._internal.defaults_list.Overrides` does."""
        return self._loader.repository.group_exists(override.key_or_group) and not isinstance(override.value(), dict)

    def _shared_composition(self, master: DictConfig, overrides: list[Override]) -> bytes | None:
        """Return the pickled composition with these overrides; None where there is none, or it cannot be pickled."""
        lines = [str(override.input_line) for override in overrides]
        of_hydra: Any = OmegaConf.to_container(master.hydra.overrides.hydra, resolve=False)
        key = (str(master.hydra.job.config_name), *of_hydra, "", *lines)
        if key not in self._shared:
            try:
                config = self._loader.load_sweep_config(master, lines)
                self._shared[key] = pickle.dumps(config, protocol=pickle.HIGHEST_PROTOCOL)
            except Exception:  # noqa: BLE001  # composing in full is what raises the error that a person should see
                self._shared[key] = None
        return self._shared[key]


def _is_plain(override: Override) -> bool:
    return override.type is OverrideType.CHANGE and override.package is None and not override.is_sweep_override()
