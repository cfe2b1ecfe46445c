"""Dataclasses that are a config and build what they describe: `unroll`.

The interface is that of micro_config (https://github.com/Sea-Snell/micro_config); its walk-through works with the
imports changed. A config that is referred to several times is unrolled once.
"""

from __future__ import annotations

import copy
import functools
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from trainctl.config._omegaconf import is_none
from trainctl.config.node_path import Place, place_of
from trainctl.errors import ScriptError

_WRAPPED = "_trainctl_wrapped"


@dataclass
class MetaConfig:
    """What all `unroll`s of one hierarchy share; derive from it to add more.

    Attributes:
        project_root: what relative paths are relative to.
        verbose: print each `unroll`.
        device: where models go that do not say so themselves.
    """

    project_root: str = ""
    verbose: bool = False
    device: str = "cpu"
    _unrolled: dict[int, tuple[ConfigScript, Any]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _open: list[tuple[ConfigScript, Any]] = field(default_factory=list, init=False, repr=False, compare=False)

    def path(self, path: str | None) -> str | None:
        """Return a path of the project as an absolute one; None is None.

        >>> MetaConfig("/home/ada/project").path("data/train.txt")
        '/home/ada/project/data/train.txt'
        """
        return None if path is None else os.path.abspath(os.path.join(self.project_root, os.path.expanduser(path)))

    convert_path = path

    def _say(self, text: str) -> None:
        if self.verbose:
            sys.stdout.write(f"{text}\n")


def _once(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    if getattr(function, "__isabstractmethod__", False) or hasattr(function, _WRAPPED):
        return function

    @functools.wraps(function)
    def unroll(self: ConfigScript, metaconfig: MetaConfig) -> Any:
        kept = metaconfig._unrolled.get(id(self))  # it keeps the object too, so no other can get its id
        if kept is not None:
            metaconfig._say(f"{type(self).__name__}: unrolled before")
            return kept[1]
        entry = (self, function)
        if metaconfig._open and metaconfig._open[-1][0] is self and metaconfig._open[-1][1] is not function:
            return function(self, metaconfig)  # super().unroll()
        _refuse_cycle(self, metaconfig)
        metaconfig._say(f"{type(self).__name__}: unrolling")
        metaconfig._open.append(entry)
        try:
            result = self.finish(metaconfig, function(self, metaconfig))
        finally:
            metaconfig._open.pop()
        if not isinstance(self, ConfigScriptNoCache):
            metaconfig._unrolled[id(self)] = (self, result)
        return result

    setattr(unroll, _WRAPPED, True)
    return unroll


def _refuse_cycle(script: ConfigScript, metaconfig: MetaConfig) -> None:
    scripts = [each for each, _ in metaconfig._open]
    for index, each in enumerate(scripts):
        if each is script:
            names = [type(one).__name__ for one in (*scripts[index:], script)]
            raise ScriptError(f"these configs unroll each other: {' -> '.join(names)}")


@dataclass
class ConfigScript(ABC):
    """A config that builds something, or does something: `unroll`.

    Each object is unrolled once for each `MetaConfig`, however many refer to it; a later call returns the same result.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "unroll" in cls.__dict__:
            setattr(cls, "unroll", _once(cls.__dict__["unroll"]))  # noqa: B010  # mypy takes it for a method's name

    @abstractmethod
    def unroll(self, metaconfig: MetaConfig) -> Any:
        """Build what this describes."""

    def finish(self, metaconfig: MetaConfig, built: Any) -> Any:
        """Return what `unroll` returns, given what it has built; for classes that load or move it."""
        return built


@dataclass
class ConfigScriptNoCache(ConfigScript):
    """A config that is unrolled anew each time."""

    @abstractmethod
    def unroll(self, metaconfig: MetaConfig) -> Any:
        """Build what this describes, again."""


class ConfigScriptList(list[Any]):
    """A list of configs that can be unrolled as one."""

    def unroll(self, metaconfig: MetaConfig) -> list[Any]:
        return [unroll(item, metaconfig) for item in self]


class ConfigScriptDict(dict[str, Any]):
    """A mapping of configs that can be unrolled as one."""

    def unroll(self, metaconfig: MetaConfig) -> dict[str, Any]:
        return {key: unroll(item, metaconfig) for key, item in self.items()}


def unroll(config: Any, metaconfig: MetaConfig | None = None) -> Any:
    """Unroll whatever is in `config`: a script, a list or mapping of them, or a node of a Hydra config.

    In a Hydra config the nodes whose schema is a `ConfigScript` are scripts; nodes that several `${…}` reach are one.

    Raises:
        ScriptError: configs refer to each other in a cycle.
    """
    metaconfig = MetaConfig() if metaconfig is None else metaconfig
    if isinstance(config, DictConfig | ListConfig):
        config = script_of(config)
    if isinstance(config, list):
        return ConfigScriptList.unroll(ConfigScriptList(config), metaconfig)
    if isinstance(config, dict):
        return ConfigScriptDict.unroll(ConfigScriptDict(config), metaconfig)
    return config.unroll(metaconfig) if isinstance(config, ConfigScript) else config


def script_of(config: DictConfig | ListConfig) -> Any:
    """Return the dataclass objects that a config's schema describes; a node that several references reach is one.

    Nodes without a schema become dicts and lists.

    Raises:
        OmegaConfBaseException: a value is missing, or a reference leads nowhere.
        ScriptError: references form a cycle.
    """
    return _Objects().of(config)


class _Objects:
    """One call of `script_of`: what was made so far, by its place in the config."""

    def __init__(self) -> None:
        self._made: dict[Place, Any] = {}
        self._open: set[Place] = set()

    def of(self, node: DictConfig | ListConfig) -> Any:
        if is_none(node):
            return None
        place = place_of(node)
        if place in self._open:
            raise ScriptError(f"{'.'.join(map(str, place))}: references form a cycle")
        if place not in self._made:
            self._open.add(place)
            self._made[place] = self._list(node) if isinstance(node, ListConfig) else self._mapping(node)
            self._open.discard(place)
        return self._made[place]

    def _list(self, node: ListConfig) -> list[Any]:
        return [self._child(node, index) for index in range(len(node))]

    def _mapping(self, node: DictConfig) -> Any:
        values = {key: self._child(node, key) for key in node}
        kind = OmegaConf.get_type(node)
        if kind is dict or kind is None:
            return values
        taken = {each.name for each in fields(kind) if each.init}
        made = kind(**{str(key): value for key, value in values.items() if key in taken})
        for key in values.keys() - taken:
            setattr(made, str(key), values[key])
        return made

    def _child(self, parent: DictConfig | ListConfig, key: Any) -> Any:
        value = parent[key]  # a reference is followed to the very node it means; what is missing raises
        return self.of(value) if isinstance(value, DictConfig | ListConfig) else value


def deep_replace(config: Any, **overrides: Any) -> Any:
    """Return a copy of a config with other values; nested ones are given as mappings: `model={"dim": 256}`.

    References stay shared: what two configs refer to is changed for both.

    Raises:
        ScriptError: naming the key that is not there.
    """
    changed = copy.deepcopy(config)
    _replace(changed, overrides, "")
    return changed


def _replace(config: Any, overrides: Mapping[str, Any], above: str) -> None:
    for key, value in overrides.items():
        name = f"{above}{key}"
        now = _item(config, key, name)
        if isinstance(value, Mapping) and isinstance(now, ConfigScript | list | dict):
            _replace(now, value, f"{name}.")
        elif isinstance(config, list):
            config[int(key)] = value
        elif isinstance(config, dict):
            config[key] = value
        else:
            setattr(config, key, value)


def _item(config: Any, key: str, name: str) -> Any:
    try:
        if isinstance(config, list):
            return config[int(key)]
        return config[key] if isinstance(config, dict) else getattr(config, key)
    except (LookupError, ValueError, AttributeError):
        known = [each.name for each in fields(config)] if isinstance(config, ConfigScript) else list(_keys(config))
        raise ScriptError(f"{name}: there is no such key; there are {', '.join(map(str, known))}") from None


def _keys(config: Any) -> Any:
    return config.keys() if isinstance(config, dict) else range(len(config))


def parse_args(arguments: list[str] | None = None) -> dict[str, Any]:
    """Return `a.b=1 a.c=x` (of the command line) as nested mappings, the values read as YAML: for `deep_replace`.

    >>> parse_args(["epochs=1", "model.dim=256", "lr=1e-4"])
    {'epochs': 1, 'model': {'dim': 256}, 'lr': 0.0001}

    Raises:
        ScriptError: an argument has no `=`.
    """
    given = sys.argv[1:] if arguments is None else arguments
    wrong = [each for each in given if "=" not in each]
    if wrong:
        raise ScriptError(f"{wrong[0]!r}: arguments are written key=value")
    parsed: Any = OmegaConf.to_container(OmegaConf.from_dotlist(list(given)), resolve=False)
    return {str(key): value for key, value in parsed.items()}
