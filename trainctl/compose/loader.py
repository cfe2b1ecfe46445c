"""Composing many jobs that differ only in values: once per set of group choices, then the last step on a copy.

Hydra composes every job of a sweep twice, 25-75 ms each time: once to validate it, once to run it. What takes the time
is the search for config files, their parsing and merging; overriding values in the result takes next to nothing.
The sweeper and the launcher share one HydraContext, so a loader put there serves both.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf

from trainctl.compose import _hydra
from trainctl.compose.pairs import FittingLoader
from trainctl.config.overrides import hydra_overrides, parse_overrides, texts_of
from trainctl.config.settings_node import leave_out_of_dirname, move_settings, put_back


def share_compositions(context: Any) -> None:
    """Freeze the config files and put a `SharingLoader` in place of a loader, as far as these are known."""
    fitting = context.config_loader
    if isinstance(fitting, FittingLoader):
        fitting.loader = _shared(fitting.loader)
    else:
        context.config_loader = _shared(context.config_loader)


def _shared(loader: Any) -> Any:
    if not _hydra.is_known() or type(loader) is not _hydra.ConfigLoaderImpl:
        return loader
    from trainctl.compose.frozen import FrozenRepository  # derives from what only a known version has

    loader.repository = FrozenRepository(loader.repository)
    return SharingLoader(loader) if _hydra.CAN_SHARE else loader


class SharingLoader:
    """A config loader whose `load_sweep_config` returns what Hydra's own returns, but faster; the rest is passed on.

    Jobs share a composition when they differ only in plain `key=value` overrides whose key is not a group, and which
    no other change of the config (`+`, `++`, `~`, a dict for a group) follows: Hydra applies these last, in order,
    to a config that depends on the group choices alone. Whatever is not provably the same is composed in full.
    """

    def __init__(self, loader: Any) -> None:
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
        if self._must_be_whole(master_config, overrides):
            return self._in_full(master_config, texts_of(overrides))
        values = self._last_values(overrides)
        apart = {id(override) for override in values}
        shared = self._shared_composition(master_config, [each for each in overrides if id(each) not in apart])
        if shared is None:
            return self._in_full(master_config, texts_of(overrides))
        config: DictConfig = pickle.loads(shared)
        put_back(config)
        _hydra.apply_overrides(values, config)
        leave_out_of_dirname(config, [each.key_or_group for each in values])
        move_settings(config)
        config.hydra.overrides.task = texts_of(overrides)
        options = config.hydra.job.config.override_dirname
        config.hydra.job.override_dirname = _hydra.overrides_dirname(overrides, options)
        OmegaConf.copy_cache(from_config=master_config, to_config=config)
        return config

    def _in_full(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        config: DictConfig = self._loader.load_sweep_config(master_config, sweep_overrides)
        return config

    def _must_be_whole(self, master: DictConfig, overrides: Sequence[Override]) -> bool:
        """Whether Hydra itself is changed by the job, or groups may come from further places."""
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
        """Tell a choice from a change of values as Hydra's defaults list does."""
        is_group: bool = self._loader.repository.group_exists(override.key_or_group)
        return is_group and not isinstance(override.value(), dict)

    def _shared_composition(self, master: DictConfig, overrides: list[Override]) -> bytes | None:
        """Return the pickled composition with these overrides; None where there is none, or it cannot be pickled."""
        lines = [str(override.input_line) for override in overrides]
        key = (str(master.hydra.job.config_name), *hydra_overrides(master.hydra), "", *lines)
        if key not in self._shared:
            try:
                config = self._loader.load_sweep_config(master, lines)
                self._shared[key] = pickle.dumps(config, protocol=pickle.HIGHEST_PROTOCOL)
            except Exception:  # noqa: BLE001  # composing in full raises the error that a person should see
                self._shared[key] = None
        return self._shared[key]


def _is_plain(override: Override) -> bool:
    return override.type is OverrideType.CHANGE and override.package is None and not override.is_sweep_override()
