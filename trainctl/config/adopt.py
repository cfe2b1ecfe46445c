"""Adopting loaded values into a composed config, each converted to the type of its key."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from omegaconf import (
    AnyNode,
    BooleanNode,
    Container,
    DictConfig,
    EnumNode,
    FloatNode,
    IntegerNode,
    ListConfig,
    Node,
    OmegaConf,
    PathNode,
    ValueNode,
)
from omegaconf.errors import OmegaConfBaseException

from trainctl.config import keys, yaml
from trainctl.config._omegaconf import MISSING, entries, is_open, is_optional, item_type, plain, raw, text_of, unlocked
from trainctl.config.loaded import NEVER_LOADED, Form, Loaded
from trainctl.config.masking import OMITTED
from trainctl.config.values import has_interpolation, literal
from trainctl.errors import SourceError

UNKNOWN = ("error", "drop", "add")
_OPTIONS = ("imports", "config_file", "wandb_config")  # of prefigure, which has them in its files and its runs
_MOST = 20
_OF_THE_MOMENT = re.compile(r"\$\{\s*(now|hydra)\s*[:.]")


@dataclass(slots=True)
class _Adoption:
    loaded: Loaded
    unknown: str
    protected: frozenset[tuple[str, ...]]
    strangers: list[str] = field(default_factory=list)
    omitted: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def adopt(
    config: DictConfig,
    loaded: Loaded,
    unknown: str = "error",
    protected: Collection[tuple[str, ...]] = (),
    above: tuple[str, ...] = (),
) -> list[str]:
    """Set loaded values in the config; every other key stays as it is.

    A value is converted to the type of its key, or to the type of the present value if none is declared, where
    `loaded.form` says that types were lost. `???`, values with an `OMITTED`, all of `hydra` and `trainctl`, and
    protected keys are left to the config. Lists are replaced whole. A key with dashes is the config's key with
    underscores where only that is there. prefigure's own options (`imports`, `config_file`, `wandb_config`) are left
    out where the config does not have them.

    Args:
        config: changed in place; after an error it must be thrown away.
        loaded: what to set.
        unknown: what to do with keys that the config does not have: error, drop, or add.
        protected: full keys, in parts, that stay as they are with all below them.
        above: where in the whole config `config` stands.

    Returns:
        What was left out and why, each as the end of a sentence.

    Raises:
        SourceError: keys that the config does not have, or values that it cannot take; all are named.
    """
    adoption = _Adoption(loaded, unknown, frozenset(protected))
    _walk(config, {key: value for key, value in loaded.values.items() if key not in NEVER_LOADED}, above, adoption)
    if adoption.strangers and unknown == "error":
        raise SourceError(
            f"{loaded.override}: this config has no {_listed(adoption.strangers)}; "
            "leave out what it does not have with +from_unknown=drop, or take it with +from_unknown=add"
        )
    if adoption.refused:
        raise SourceError(f"{loaded.override} does not fit this config: {_listed(adoption.refused, '; ')}")
    return [*loaded.notes, *_left_out(adoption)]


def _left_out(adoption: _Adoption) -> Iterator[str]:
    if adoption.strangers and adoption.unknown == "drop":
        yield f"left out, as this config does not have them: {', '.join(adoption.strangers)}"
    if adoption.omitted:
        yield f"left out, as they are secret there: {_listed(adoption.omitted)}"
    if adoption.options:
        followed = (
            "; load each file that imports names with +from@KEY=json/FILE" if "imports" in adoption.options else ""
        )
        yield f"left out, as these are options of prefigure itself: {', '.join(adoption.options)}{followed}"


def _listed(items: list[str], separator: str = ", ") -> str:
    more = f"{separator}and {len(items) - _MOST} more" if len(items) > _MOST else ""
    return separator.join(items[:_MOST]) + more


def _walk(target: DictConfig, values: Mapping[Any, Any], above: tuple[str, ...], adoption: _Adoption) -> None:
    there = {_text(key): (key, node) for key, node in entries(target)}
    for key, value in values.items():
        name, node = there.get(str(key)) or there.get(str(key).replace("-", "_"), (None, None))
        path = (*above, str(key) if node is None else _text(name))
        if path in adoption.protected:
            continue
        if is_left_out(value, adoption.loaded):
            adoption.omitted += [keys.join(path)] if _is_omitted(value) else []
        elif (
            node is None
            and not above
            and key in _OPTIONS
            and OmegaConf.get_type(target) is dict
            and not adoption.loaded.choices
        ):
            adoption.options.append(key)
        elif node is None:
            _meet_stranger(target, key, value, path, adoption)
        elif isinstance(node, DictConfig) and is_open(node) and isinstance(value, Mapping):
            _walk(node, value, path, adoption)
        else:
            _set(target, name, node, value, path, adoption)


def is_left_out(value: Any, loaded: Loaded) -> bool:
    """Whether a value is missing in the source, or was left out of it as a secret."""
    if isinstance(value, list):
        return any(is_left_out(item, loaded) for item in value)
    return value == MISSING or (_is_omitted(value) and not loaded.is_own)


def _is_omitted(value: Any) -> bool:
    """Whether a value was left out of the source as a secret."""
    if isinstance(value, list):
        return any(map(_is_omitted, value))
    return isinstance(value, str) and OMITTED in value


def _text(key: Any) -> str:
    return key.name if isinstance(key, Enum) else str(key)


def _meet_stranger(target: DictConfig, key: Any, value: Any, path: tuple[str, ...], adoption: _Adoption) -> None:
    takes_any = item_type(target) is not Any and OmegaConf.get_type(target) is dict
    if not takes_any:
        below = keys.leaves(value) if isinstance(value, dict) and value else None
        adoption.strangers += [keys.join(path)] if below is None else [f"{keys.join(path)}.{each}" for each in below]
        if adoption.unknown != "add":
            return
    if has_interpolation(value) and not adoption.loaded.is_own:
        adoption.refused.append(_is_interpolation(path))
        return
    with unlocked(target):
        try:
            is_float = item_type(target) is float and type(value) is int
            target[key] = float(value) if is_float else value
        except OmegaConfBaseException as error:
            adoption.refused.append(f"{keys.join(path)}: {_reason(error)}")


def _set(target: DictConfig, name: Any, node: Node, value: Any, path: tuple[str, ...], adoption: _Adoption) -> None:
    written = raw(node)
    if adoption.loaded.is_record and isinstance(written, str) and _OF_THE_MOMENT.search(written):
        return
    if has_interpolation(value) and not adoption.loaded.is_own:
        if plain(node) != value:
            adoption.refused.append(_is_interpolation(path))
        return
    try:
        with unlocked(target):
            target[name] = _coerced(node, value, adoption.loaded.form)
    except (OmegaConfBaseException, ValueError) as error:
        adoption.refused.append(f"{keys.join(path)}={yaml.inline(value):.60}: {_reason(error)}")


def _is_interpolation(path: tuple[str, ...]) -> str:
    return f"{keys.join(path)} is an interpolation there, and what comes from outside is data"


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0]


def _coerced(node: Node, value: Any, form: Form) -> Any:
    """Convert a value to the type of its key; ValueError for a text that is not of that type."""
    if isinstance(value, str) and isinstance(node, EnumNode | PathNode) and not (value == "None" and form == "text"):
        return _declared(node, value)
    if form == "exact":
        return value
    if form == "text" and isinstance(value, str):
        return _parsed(node, value)
    sample = raw(node)
    if value is None and isinstance(node, FloatNode) and not is_optional(node):
        return math.nan
    if isinstance(node, FloatNode) or type(sample) is float:
        return float(value) if type(value) is int else value
    return _as_items(node, value)


def _declared(node: EnumNode | PathNode, text: str) -> Any:
    """Return a recorded text converted to a declared type; `Color.RED` is how Python writes an enum."""
    if isinstance(node, PathNode):
        return Path(text)
    name = text.rpartition(".")[2]
    if name not in node.enum_type.__members__:
        raise ValueError(f"it is not one of {', '.join(node.enum_type.__members__)}")
    return node.enum_type[name]


def _as_items(node: Node, value: Any) -> Any:
    """Return a list with its ints as floats if the target is a list of floats."""
    if isinstance(node, ListConfig) and isinstance(value, list) and _has_floats(node):
        return [float(item) if type(item) is int else item for item in value]
    return value


def _has_floats(node: ListConfig) -> bool:
    if item_type(node) is float:
        return True
    items = [item for _, item in entries(node)]
    return bool(items) and all(isinstance(item, ValueNode) and type(raw(item)) is float for item in items)


def _parsed(node: Node, text: str) -> Any:
    """Return the value of a text as MLflow keeps it: Python's `str()` of what was logged."""
    if isinstance(node, Container):
        return _as_items(node, _of_kind("list" if isinstance(node, ListConfig) else "mapping", _literal(text)))
    if not isinstance(node, AnyNode):
        return None if text == "None" and is_optional(node) else _typed(node, text)
    sample = raw(node)
    if isinstance(sample, str) and sample != MISSING and text_of(node) is None:
        return text
    value = _literal(text)
    if type(sample) is float and type(value) is int:
        return float(value)
    return _of_kind(type(sample).__name__, value) if type(sample) in (bool, int, float) else value


def _of_kind(kind: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    raise ValueError(f"it is not of type {kind}")


def _typed(node: Node, text: str) -> Any:
    """Return a text as a typed key has it; what OmegaConf itself would convert, it may do only with a warning."""
    words: dict[str, Any] = {"true": True, "false": False}
    if isinstance(node, BooleanNode):
        return _of_kind("bool", words.get(text.lower(), text))
    for kind, number in ((FloatNode, float), (IntegerNode, int)):
        if isinstance(node, kind):
            try:
                return number(text)
            except ValueError:
                raise ValueError(f"it is not of type {number.__name__}") from None
    return text


def _literal(text: str) -> Any:
    """Return the value whose `str()` is this text; the text itself if that cannot be told."""
    words = {"true": True, "false": False, "null": None, "nan": math.nan, "inf": math.inf, "-inf": -math.inf}
    plain = text.replace("\\${", "${") if "${" in text else text
    if plain in words:
        return words[plain]
    try:
        value = ast.literal_eval(plain)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    if isinstance(value, tuple):
        value = list(value)
    return literal(value) if value is None or isinstance(value, bool | int | float | str | list | dict) else text
