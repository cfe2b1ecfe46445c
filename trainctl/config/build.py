"""Objects from configs: Hydra's `instantiate`, but a node that is referred to from several places becomes one object.

What a node becomes is Hydra's rule (`_target_ _args_ _partial_ _recursive_ _convert_`, see
https://hydra.cc/docs/advanced/instantiate_objects/overview/). Hydra resolves every `${…}` into a copy first; here a
reference is followed to where its node stands, and what was built there is used again (hydra issue 1393).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from hydra.types import ConvertMode
from omegaconf import Container, DictConfig, ListConfig, Node, OmegaConf, SCMode, UnionNode, ValueNode
from omegaconf.errors import InterpolationResolutionError

from trainctl.config._omegaconf import (
    Place,
    child,
    free_copy,
    is_missing,
    is_none,
    parent_of,
    place_of,
    raw,
    set_parent,
    set_type,
    target_of,
    text_of,
)
from trainctl.errors import TrainctlError

_TARGET, _CONVERT, _RECURSIVE, _PARTIAL, _ARGS = "_target_", "_convert_", "_recursive_", "_partial_", "_args_"
_SHARED = "_shared_"  # not one of Hydra's: false builds a new object for each reference
_SPECIAL = frozenset({_TARGET, _CONVERT, _RECURSIVE, _PARTIAL, _SHARED})
_PLAIN = (ConvertMode.ALL, ConvertMode.PARTIAL, ConvertMode.OBJECT)
_ALLOW = {"allow_objects": True}


class BuildError(TrainctlError, InstantiationException):
    """A config cannot be built; the sentence names the key at which it failed."""


def build(config: Any, *args: Any, _execution_whitelist_: Any = None, **kwargs: Any) -> Any:
    """Build the object that a config describes; nodes that several references reach are built once each.

    Without references it does what `hydra.utils.instantiate` does. With them:

    * A value `${key}` stands for what `key` is built to: the same object wherever it is referred to, from inside or
      outside of `config`, directly, relatively, or through other references. Which node is meant is decided by its
      place in the config. Text that merely contains a reference (`"${name}-small"`) and results of resolvers are
      values as ever.
    * A Python object that stands in two places of a stored config (`ConfigStore`) is two nodes, since OmegaConf copies
      it into each; `${key}` in the second makes them one.
    * `_shared_: false` in a node has it built again for each reference.
    * `_convert_` and `_recursive_` are inherited from the place that reaches a node first, in the config's order.
    * Below `_recursive_: false` nothing is built: targets get configs, in which references are copies.

    Args:
        config: a node of a config, a mapping or list, or a structured config; None is None.
        args: positional arguments of its target, instead of `_args_`.
        _execution_whitelist_: which targets are allowed; for Hydra 1.4, which describes it.
        kwargs: override or add to its keys.

    Raises:
        BuildError: a target cannot be imported, a target or an argument fails, or references form a cycle.
        OmegaConfBaseException: a value is missing, or a reference leads nowhere.
    """
    if config is None:
        return None
    node = _prepared(config, kwargs)
    return _ObjectBuilder(_execution_whitelist_).build(node, _Modes(), args)


@dataclass(frozen=True, slots=True)
class _Modes:
    """The settings that a node inherits."""

    convert: Any = "none"
    recursive: bool = True
    partial: bool = False

    def of(self, node: DictConfig) -> _Modes:
        """Return the settings of a node: its own, else the inherited ones; `_partial_` is not inherited."""
        modes = _Modes(
            _own(node, _CONVERT, self.convert), _own(node, _RECURSIVE, self.recursive), _own(node, _PARTIAL, False)
        )
        for key, value in ((_RECURSIVE, modes.recursive), (_PARTIAL, modes.partial)):
            if not isinstance(value, bool):
                raise BuildError(f"{_at(node)}: {key} must be true or false, it is {value!r}")
        return modes


def _own(node: DictConfig, key: str, otherwise: Any) -> Any:
    if key not in node:  # `get` raises where the keys are of another type than text
        return otherwise
    return node[key]


class _ObjectBuilder:
    """One call of `build`: the objects so far, by their place in the config."""

    def __init__(self, whitelist: Any) -> None:
        self._allowed = {} if whitelist is None else {"_execution_whitelist_": whitelist}
        self._built: dict[Place, Any] = {}
        self._open: list[Place] = []

    def build(self, node: Any, modes: _Modes, args: Sequence[Any] = ()) -> Any:
        """Build the object of a node, at most once per node."""
        if not isinstance(node, Container):
            return node
        if is_none(node):
            return None
        place = place_of(node)
        if place in self._built:
            return self._built[place]
        with self._opening(place):
            built = (
                self._mapping(node, modes.of(node), args) if isinstance(node, DictConfig) else self._list(node, modes)
            )
        if not (isinstance(node, DictConfig) and _own(node, _SHARED, True) is False):
            self._built[place] = built
        return built

    @contextmanager
    def _opening(self, place: Place) -> Iterator[None]:
        if place in self._open:
            chain = [*self._open[self._open.index(place) :], place]
            raise BuildError(f"references form a cycle: {' -> '.join(map(_written, chain))}")
        self._open.append(place)
        try:
            yield
        finally:
            self._open.pop()

    def _list(self, node: Any, modes: _Modes) -> Any:
        items = [self._child(node, index, modes) for index in range(len(node))]
        if modes.convert in _PLAIN:
            return items
        built = OmegaConf.create(items, flags=_ALLOW)
        set_parent(built, node)
        return built

    def _mapping(self, node: DictConfig, modes: _Modes, args: Sequence[Any]) -> Any:
        if _TARGET in node:
            return self._target(node, modes, args)
        inherited = _Modes(modes.convert, modes.recursive)
        items = {key: self._child(node, key, inherited) for key in node if key != _SHARED}
        kind = OmegaConf.get_type(node)
        if modes.convert == ConvertMode.ALL or (modes.convert in _PLAIN and kind is dict):
            return items
        built = OmegaConf.create({}, flags=_ALLOW)
        for key, value in items.items():
            built[key] = value
        set_parent(built, node)
        set_type(built, kind)
        return OmegaConf.to_object(built) if modes.convert == ConvertMode.OBJECT else built

    def _target(self, node: DictConfig, modes: _Modes, args: Sequence[Any]) -> Any:
        call = _located(node, self._allowed)
        inherited = _Modes(modes.convert, modes.recursive)
        kwargs: dict[str, Any] = {}
        for key in node:
            if key in _SPECIAL or (modes.partial and OmegaConf.is_missing(node, key)):
                continue
            value = self._child(node, key, inherited) if modes.recursive else _config(node, key)
            kwargs[str(key)] = _converted(value, modes.convert)
        given = kwargs.pop(_ARGS, ())
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise BuildError(f"{_at(node)}: {_ARGS} must be a list, it is {given!r}")
        args = tuple(args) or tuple(given)
        for value in (*args, *kwargs.values()):
            if isinstance(value, Container):
                set_parent(value, None)  # as Hydra does: all is resolved, and the parent would be pickled with it
        return _called(node, call, modes.partial, args, kwargs)

    def _child(self, parent: Container, key: Any, modes: _Modes) -> Any:
        node: Any = child(parent, key)
        if is_missing(node):
            parent[key]  # raises, with the full key
        if text_of(node) is None:
            return self.build(raw(node), modes)
        with _naming(node):
            meant = target_of(node)
        if isinstance(meant, ValueNode | UnionNode):
            return parent[key]  # converted to the type that is declared here
        if is_missing(meant):
            raise BuildError(f"{_at(node)}: it refers to {_at(meant)}, which is missing")
        return self.build(meant, modes)


def _prepared(config: Any, overrides: Mapping[str, Any]) -> DictConfig | ListConfig:
    """Return a copy of a config with its overrides, in which objects are allowed."""
    if isinstance(config, dict | list):
        config = _named_targets(config)
    if isinstance(config, dict | list) or is_dataclass(config):
        config = (
            OmegaConf.structured(config, flags=_ALLOW)
            if is_dataclass(config)
            else OmegaConf.create(config, flags=_ALLOW)
        )
    if not isinstance(config, DictConfig | ListConfig):
        raise BuildError(f"a config, mapping, list or dataclass can be built, this is {type(config).__name__}")
    if not overrides:
        return config
    if isinstance(config, ListConfig):
        raise BuildError(f"a list takes no keys, these were given: {', '.join(overrides)}")
    return _overridden(free_copy(config), _named_targets(dict(overrides)))


def _overridden(config: DictConfig, overrides: Mapping[str, Any]) -> DictConfig:
    plain = {key: value for key, value in overrides.items() if isinstance(value, dict | list | Container)}
    merged = OmegaConf.merge(config, plain)
    assert isinstance(merged, DictConfig)
    set_parent(merged, parent_of(config))
    for key, value in overrides.items():
        if key not in plain:
            merged[key] = value  # merging would copy an object
    return merged


def _named_targets(value: Any) -> Any:
    """Return plain containers in which each class or function given as `_target_` is replaced by its dotted name."""
    if isinstance(value, list):
        return [_named_targets(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: f"{item.__module__}.{item.__qualname__}"
        if key == _TARGET and hasattr(item, "__qualname__")
        else _named_targets(item)
        for key, item in value.items()
    }


def _located(node: DictConfig, allowed: Mapping[str, Any]) -> Callable[..., Any]:
    """Return the callable of a target as Hydra locates it, with Hydra's checks."""
    try:
        found: Callable[..., Any] = hydra.utils.instantiate({_TARGET: node[_TARGET], _PARTIAL: True}, **allowed)
    except InstantiationException as error:
        raise BuildError(f"{_at(node)}: {error}") from error
    return found


def _called(node: DictConfig, call: Any, partial: bool, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    try:
        if not partial:
            return call(*args, **kwargs)
        bound = type(call)(call.func, *args, **kwargs)  # Hydra's own kind of partial
        bound.__dict__.update(call.__dict__)
        return bound
    except BuildError:
        raise
    except Exception as error:
        raise BuildError(f"{_at(node)}: the target {node[_TARGET]} failed: {type(error).__name__}: {error}") from error


def _config(parent: DictConfig, key: Any) -> Any:
    """Return a child as a config of its own, for a target that is not built recursively."""
    value = parent[key]
    if not isinstance(value, Container):
        return value
    alone = free_copy(value)
    OmegaConf.resolve(alone)
    return alone


def _converted(value: Any, convert: Any) -> Any:
    if not isinstance(value, Container) or convert not in _PLAIN:
        return value
    modes = [SCMode.DICT, SCMode.DICT_CONFIG, SCMode.INSTANTIATE]
    return OmegaConf.to_container(value, resolve=True, structured_config_mode=modes[_PLAIN.index(convert)])


@contextmanager
def _naming(node: Node) -> Iterator[None]:
    try:
        yield
    except RecursionError as error:
        raise BuildError(f"{_at(node)}: references form a cycle") from error
    except InterpolationResolutionError as error:
        text = str(error).lower()
        if "recursive interpolation" in text:
            raise BuildError(f"{_at(node)}: references form a cycle") from error
        if "interpolation to parent" in text:
            raise BuildError(f"{_at(node)}: references form a cycle: it refers to a node that it stands in") from error
        raise


def _at(node: Node) -> str:
    """Return the full key of a node, for a sentence."""
    return _written(place_of(node))


def _written(place: Place) -> str:
    """Write a path as OmegaConf writes a full key: `model.layers[0]`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    return text.removeprefix(".") or "the top of the config"
