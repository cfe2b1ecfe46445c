"""The config files of a sweep, frozen at its start: later edits of files apply to the next sweep."""

from __future__ import annotations

import copy
import io
import os
import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf

from trainctl.compose._hydra import ConfigRepository, FileConfigSource, FileSource

_MOST_ENTRIES = 5_000  # a search path that holds more is not a config dir: its files are then read as jobs need them
_HEADER = 512
_OF_FILES = ("file", "pkg")
_FILE_SOURCE = f"{FileConfigSource.__module__}.{FileConfigSource.__qualname__}"


class FrozenRepository(ConfigRepository):
    """A ConfigRepository that reads every config dir once, and parses each config once.

    Copies share what was read: Hydra copies the repository for each composition.
    """

    def __init__(self, repository: ConfigRepository) -> None:
        self.config_search_path = getattr(repository, "config_search_path", None)  # type: ignore[assignment]  # 1.3 declares it only
        self._trees: dict[str, Tree | None] = {}
        self._parsed: dict[tuple[Any, ...], bytes | None] = {}
        self._groups: dict[tuple[Any, ...], bool] = {}
        self.sources = self._frozen(repository.get_sources())

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenRepository:
        twin = copy.copy(self)
        twin.sources = list(self.sources)
        return twin

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Make the sources of a search path: `hydra.searchpath` adds to it."""
        super().initialize_sources(config_search_path)
        self.sources = self._frozen(self.sources)

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Load a config, parsed once for all jobs; each caller gets its own."""
        key = self._key(config_path)
        if key not in self._parsed:
            loaded = super().load_config(config_path)
            try:
                self._parsed[key] = pickle.dumps(loaded, protocol=pickle.HIGHEST_PROTOCOL)
            except Exception:  # noqa: BLE001  # a structured config may hold any object, and its __reduce__ raise anything
                self._parsed[key] = None
        data = self._parsed[key]
        if data is None:
            return super().load_config(config_path)
        result: ConfigResult | None = pickle.loads(data)  # pickled here
        return result

    def group_exists(self, config_path: str) -> bool:
        """Whether there is such a group, looked up once for all jobs where files are read for it."""
        return any(self._is_group(source, config_path) for source in self.sources)

    def _is_group(self, source: ConfigSource, config_path: str) -> bool:
        if source.scheme() not in _OF_FILES:
            return source.is_group(config_path)
        key = (source.scheme(), source.path, config_path)
        if key not in self._groups:
            self._groups[key] = source.is_group(config_path)
        return self._groups[key]

    def _key(self, config_path: str) -> tuple[Any, ...]:
        return (*((source.scheme(), source.path) for source in self.sources), config_path)

    def _frozen(self, sources: Iterable[ConfigSource]) -> list[ConfigSource]:
        return [self._freeze(source) for source in sources]

    def _freeze(self, source: ConfigSource) -> ConfigSource:
        # by name: Hydra's scan runs its plugin modules again, so there are several classes of that name
        if f"{type(source).__module__}.{type(source).__qualname__}" != _FILE_SOURCE:
            return source
        root = os.path.abspath(source.path)
        if root not in self._trees:
            self._trees[root] = read_tree(Path(root))
        tree = self._trees[root]
        return source if tree is None else FrozenFileSource(source.provider, root, tree)


@dataclass(frozen=True, slots=True)
class Tree:
    """The content of a config dir.

    Attributes:
        texts: of its YAML files, by path below it.
        groups: its directories, by path below it, itself as an empty text.
    """

    texts: dict[str, str]
    groups: frozenset[str]


class FrozenFileSource(FileSource):
    """A config dir as it was when it was read."""

    def __init__(self, provider: str, path: str, tree: Tree) -> None:
        super().__init__(provider, path)
        self._tree = tree

    def load_config(self, config_path: str) -> ConfigResult:
        """Parse a config's text.

        Raises:
            ConfigLoadError: there was no such file.
        """
        name = _key(self.file_name(config_path))
        if name not in self._tree.texts:
            raise ConfigLoadError(f"Config not found : {os.path.join(self.path, name)}")
        text = self._tree.texts[name]
        return ConfigResult(
            config=OmegaConf.load(io.StringIO(text)),
            path=f"{self.scheme()}://{self.path}",
            provider=self.provider,
            header=self.header_of(text[:_HEADER]),
        )

    def is_group(self, config_path: str) -> bool:
        return _key(config_path) in self._tree.groups

    def is_config(self, config_path: str) -> bool:
        return _key(self.file_name(config_path)) in self._tree.texts

    def list(self, config_path: str, results_filter: ObjectType | None) -> Any:
        """List the members of a group, sorted."""
        group = _key(config_path)
        members = {path for path in (*self._tree.texts, *self._tree.groups) if path and os.path.dirname(path) == group}
        files: Any = []
        for path in sorted(members):
            name = os.path.basename(path)
            self.add_result(files=files, file_path=path, file_name=name, results_filter=results_filter)
        return sorted(set(files))


def _key(path: str) -> str:
    return "" if path in ("", ".") else os.path.normpath(path).strip("/")


def read_tree(root: Path) -> Tree | None:
    """Read all YAML files below a directory, hidden ones left out; None when it is large, or one cannot be read.

    A directory that is not there has no group, not even itself.
    """
    texts: dict[str, str] = {}
    groups: set[str] = set()
    entries = 0
    try:
        for folder, folders, names in os.walk(root, followlinks=True):
            folders[:] = [name for name in folders if not name.startswith(".")]
            entries += 1 + len(folders) + len(names)
            if entries > _MOST_ENTRIES:
                return None
            below = os.path.relpath(folder, root)
            groups.add(_key(below))
            for name in names:
                if name.endswith((".yaml", ".yml")):
                    texts[_key(os.path.join(below, name))] = Path(folder, name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None  # Hydra says what is wrong with it when a job needs it
    return Tree(texts, frozenset(groups))
