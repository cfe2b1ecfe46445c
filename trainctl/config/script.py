"""Dataclasses that are configs and build the objects they describe (`unroll`).

The interface is that of micro_config (https://github.com/Sea-Snell/micro_config), whose names are in
`trainctl.micro_config`. A config that is referred to several times is unrolled once.
"""

from __future__ import annotations

import copy
import functools
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from omegaconf import DictConfig, ListConfig, OmegaConf

from trainctl.config._omegaconf import Place, is_none, place_of
from trainctl.errors import ScriptError

_Unroll = Callable[[Any, Any], Any]


@dataclass
class MetaConfig:
    """Data shared by all `unroll`s of one hierarchy; subclass it to add more.

    Attributes:
        project_root: what relative paths are relative to.
        verbose: print each `unroll`.
        device: the device of models that do not name one.
        unrolled: the results so far, by the `id` of their config.
    """

    project_root: str = ""
    verbose: bool = False
    device: str = "cpu"
    unrolled: dict[int, Any] | None = field(default=None, repr=False, compare=False)
    _kept: dict[int, ConfigScript] = field(  # no other object gets the id of one that is kept
        default_factory=dict, repr=False, compare=False, kw_only=True
    )
    _open: list[_Call] = field(default_factory=list, init=False, repr=False, compare=False)

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


class _Call(NamedTuple):
    """One running `unroll`: its object, its class, and the `meta_unroll` around it."""

    script: ConfigScript
    function: _Unroll
    meta: Any


def _guarded(function: _Unroll, wrapped: _Unroll, meta: Any) -> _Unroll:
    """Return `wrapped`, which `meta` has made of `function`; a `super().unroll()` under the same `meta` is bare."""

    @functools.wraps(function)
    def unroll(self: ConfigScript, metaconfig: MetaConfig) -> Any:
        above = metaconfig._open[-1] if metaconfig._open else None
        is_super = above is not None and above.script is self and above.function is not function
        if is_super and above is not None and above.meta == meta:
            return function(self, metaconfig)
        if not is_super:
            _refuse_cycle(self, metaconfig)
        metaconfig._open.append(_Call(self, function, meta))
        try:
            result = wrapped(self, metaconfig)
        finally:
            metaconfig._open.pop()
        if id(self) in (metaconfig.unrolled or ()):
            metaconfig._kept[id(self)] = self
        return result

    return unroll


def _refuse_cycle(script: ConfigScript, metaconfig: MetaConfig) -> None:
    scripts = [call.script for call in metaconfig._open]
    for index, each in enumerate(scripts):
        if each is script:
            names = [type(one).__name__ for one in (*scripts[index:], script)]
            raise ScriptError(f"these configs unroll each other: {' -> '.join(names)}")


@dataclass
class ConfigScript(ABC):
    """A config that builds or does something in `unroll`.

    Each object is unrolled once for each `MetaConfig`, however many refer to it; a later call returns the same result.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        function, meta = cls.unroll, cls.meta_unroll
        key = getattr(meta, "__func__", meta)  # a class method's is the same for all classes that have it
        known = getattr(cls, "_guard", None)  # what was done for the class above, or for this one before it got slots
        if known != (function, key) and not getattr(function, "__isabstractmethod__", False):
            guarded = _guarded(function, meta(function), key)
            setattr(cls, "unroll", guarded)  # noqa: B010  # mypy takes it for a method's name
            setattr(cls, "_guard", (guarded, key))  # noqa: B010  # a class attribute, not a field

    @staticmethod
    def meta_unroll(unroll: _Unroll) -> _Unroll:
        """Return what is called for a class's `unroll`; override it to load, move or keep what that builds.

        An override is called once for each class that defines an `unroll`, with that function of (self, metaconfig).
        """

        def kept(self: ConfigScript, metaconfig: MetaConfig) -> Any:
            if metaconfig.unrolled is None:
                metaconfig.unrolled = {}
            if id(self) in metaconfig.unrolled:
                metaconfig._say(f"{type(self).__name__}: unrolled before")
                return metaconfig.unrolled[id(self)]
            metaconfig._say(f"{type(self).__name__}: unrolling")
            result = metaconfig.unrolled[id(self)] = self.finish(metaconfig, unroll(self, metaconfig))
            return result

        return kept

    @abstractmethod
    def unroll(self, metaconfig: MetaConfig) -> Any:
        """Build the object that this config describes."""

    def finish(self, metaconfig: MetaConfig, built: Any) -> Any:
        """Return what `unroll` returns, given what it has built; for classes that load or move it."""
        return built


@dataclass
class ConfigScriptNoCache(ConfigScript):
    """A config that is unrolled again each time."""

    @staticmethod
    def meta_unroll(unroll: _Unroll) -> _Unroll:
        """Return what is called for a class's `unroll`; an override keeps results only if it says so."""

        def unrolled(self: ConfigScript, metaconfig: MetaConfig) -> Any:
            metaconfig._say(f"{type(self).__name__}: unrolling")
            return self.finish(metaconfig, unroll(self, metaconfig))

        return unrolled

    @abstractmethod
    def unroll(self, metaconfig: MetaConfig) -> Any:
        """Build the object that this config describes, a new one each time."""


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

    In a Hydra config the nodes whose schema is a `ConfigScript` are scripts; nodes that several `${…}` reach are one. A
    Python object that stands in two places there is two nodes, since OmegaConf copies it into each.

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
    """One call of `script_of`: the objects so far, by their place in the config."""

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
    """Return a copy of a config with other values; those of nested configs are given as mappings: `model={"dim": 256}`.

    A mapping that holds no configs is a value, and is replaced whole. References stay shared: what two configs refer to
    is changed for both.

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
        if isinstance(value, Mapping) and not isinstance(value, ConfigScriptDict) and _has_scripts(now):
            _replace(now, value, f"{name}.")
        elif isinstance(config, list):
            config[int(key)] = value
        elif isinstance(config, dict):
            config[key] = value
        else:
            setattr(config, key, value)


def _has_scripts(value: Any) -> bool:
    """Whether a value is a config or a collection of configs; any other, a plain mapping too, is replaced whole."""
    if isinstance(value, ConfigScript | ConfigScriptList | ConfigScriptDict):
        return True
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_has_scripts, items))


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
