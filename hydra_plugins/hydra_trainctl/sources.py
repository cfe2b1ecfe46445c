"""The config source of `+from=KIND/PLACE`, in every Hydra app's search path."""

from typing import Any, Optional

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin

_SCHEME = "trainctl-from"
_GROUP, _UNKNOWN_GROUP = "from", "from_unknown"


class TrainctlSearchPath(SearchPathPlugin):
    """Adds our config source behind the app's own."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the source; called once for each search path that Hydra makes."""
        search_path.append("hydra_trainctl", f"{_SCHEME}://")


class TrainctlSource(ConfigSource):
    """Knows the groups `from` and `from_unknown`; whatever an app has of these names comes first."""

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider, path)
        _install()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Come into a job's own process, where Hydra must know of us too."""
        self.__dict__.update(state)
        _install()

    @staticmethod
    def scheme() -> str:
        return _SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        from trainctl.sources.composing import load

        return load(config_path)

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path in (_GROUP, _UNKNOWN_GROUP)

    def is_config(self, config_path: str) -> bool:
        if not config_path.startswith((f"{_GROUP}/", f"{_UNKNOWN_GROUP}/")):
            return False
        from trainctl.sources.composing import is_config

        return is_config(config_path)

    def list(self, config_path: str, results_filter: Optional[ObjectType]) -> Any:
        if results_filter == ObjectType.GROUP:
            return []
        from trainctl.config.adopt import UNKNOWN
        from trainctl.sources.reading import KINDS

        return {_GROUP: [f"{kind}/…" for kind in KINDS], _UNKNOWN_GROUP: sorted(UNKNOWN)}.get(config_path, [])


def _install() -> None:
    from trainctl.sources.hooks import install

    install()
