"""What every Hydra app gets from trainctl: the config source of `+from=KIND/PLACE`, and the names of its configs.

An app that names none of them loads nothing further of this package, and runs Hydra as it is.
"""

import importlib
import sys
from typing import Any, Optional

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin

_SCHEME = "trainctl-from"
_GROUP, _UNKNOWN_GROUP = "from", "from_unknown"
_PRESET, _COMPOSITION = "trainctl.preset", "trainctl.sources.composition"


class TrainctlSearchPath(SearchPathPlugin):
    """Adds trainctl's config source behind the app's own."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the source; called once for each search path that Hydra makes."""
        search_path.append("hydra_trainctl", f"{_SCHEME}://")


class TrainctlSource(ConfigSource):
    """Knows the groups `from` and `from_unknown`; whatever an app has of these names comes first."""

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider, path)

    def __getstate__(self) -> dict[str, Any]:
        """Take along what this process was asked for: a job's own process needs the same."""
        return {**self.__dict__, "loaded": [name for name in (_PRESET, _COMPOSITION) if name in sys.modules]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name in state.pop("loaded"):
            module = importlib.import_module(name)
            if name == _COMPOSITION:
                module.install()
        self.__dict__.update(state)

    @staticmethod
    def scheme() -> str:
        return _SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        from trainctl.sources.composition import load

        return load(config_path)

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path in (_GROUP, _UNKNOWN_GROUP) and bool(_composition().is_answered())

    def is_config(self, config_path: str) -> bool:
        if not config_path.startswith((f"{_GROUP}/", f"{_UNKNOWN_GROUP}/")):
            return False
        from trainctl.sources.composition import is_config

        return is_config(config_path) and bool(_composition())

    def list(self, config_path: str, results_filter: Optional[ObjectType]) -> Any:
        if results_filter == ObjectType.GROUP:
            return []
        from trainctl.config.adopt import UNKNOWN
        from trainctl.sources.kinds import KINDS

        return {_GROUP: [f"{kind}/…" for kind in KINDS], _UNKNOWN_GROUP: sorted(UNKNOWN)}.get(config_path, [])


def _composition() -> Any:
    from trainctl.sources import composition

    composition.install()
    return composition


class NamedConfig(ConfigNode):
    """A config of `trainctl.preset` in the ConfigStore, which is loaded when somebody reads it."""

    def __init__(self, group: Optional[str], name: str, package: Optional[str]) -> None:
        super().__init__(f"{name}.yaml", None, group, package, "hydra_trainctl")  # type: ignore[arg-type]  # see `node`
        self._path = f"{group}/{name}" if group else name

    @property
    def node(self) -> Any:
        return importlib.import_module(_PRESET).load(self._path) if self._node is None else self._node

    @node.setter
    def node(self, node: Any) -> None:
        self._node = node


def _register(group: Optional[str], name: str, package: Optional[str] = None) -> None:
    place = ConfigStore.instance().repo
    for part in group.split("/") if group else ():
        place = place.setdefault(part, {})
    place[f"{name}.yaml"] = NamedConfig(group, name, package)


_register("hydra/launcher", "slots")
_register("hydra/launcher", "slots_ray")
_register("hydra/launcher", "slots_slurm")
_register("hydra/sweeper", "grids")
_register("hydra/callbacks", "trainctl")
_register("hydra/trainctl", "settings", "trainctl")
_register(None, "trainctl", "_global_")
