"""The YAML text of a config, as `OmegaConf.to_yaml` writes it, sooner.

The configs of a sweep's jobs are nearly the same, and PyYAML's own emitter, in Python, is slow. In block style the text
of a mapping is that of its entries one after the other, each of which depends on its key, its value and its depth
alone: so each entry is written by PyYAML once, and remembered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf._utils import OmegaConfDumper, get_omega_conf_dumper

_own_to_yaml = OmegaConf.to_yaml

# Texts that stand as they are: nothing YAML gives a meaning to, no space to fold a long line at.
_WORD = re.compile(r"[A-Za-z_/][A-Za-z0-9_]*([/.=-]+[A-Za-z0-9_]+)*")
_NO_WORDS = re.compile(r"y|yes|n|no|true|false|on|off|null|nan|inf|infinity|.{100,}", re.IGNORECASE)
_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("bool", "float", "int", "merge", "null", "timestamp", "value", "yaml")
)
_ATOMS = (type(None), bool, int, float, str)
_INDENT = "  "

_written: dict[str, str] = {}


class _Foreign(Exception):
    """A value that a config may hold, but that no text can be remembered for."""


def to_yaml(cfg: Any, *, resolve: bool = False, sort_keys: bool = False) -> str:
    """Return what `OmegaConf.to_yaml` returns."""
    if resolve or sort_keys or not OmegaConf.is_config(cfg) or not _is_usual(get_omega_conf_dumper()):
        return _own_to_yaml(cfg, resolve=resolve, sort_keys=sort_keys)
    try:
        return _document(OmegaConf.to_container(cfg, resolve=False, enum_to_str=True))
    except _Foreign:
        return _own_to_yaml(cfg)


def _is_usual(dumper: type[OmegaConfDumper]) -> bool:
    """Say whether nobody has taught the dumper anything."""
    representers, resolvers = dumper.yaml_representers, yaml.resolver.Resolver.yaml_implicit_resolvers
    usual = yaml.representer.SafeRepresenter
    return (
        dumper.yaml_implicit_resolvers is resolvers
        and {tag for each in resolvers.values() for tag, _ in each} <= _TAGS
        and representers.get(str) is dumper.str_representer
        and representers.get(int) is usual.represent_int
        and representers.get(bool) is usual.represent_bool
        and representers.get(float) is usual.represent_float
        and representers.get(type(None)) is usual.represent_none
        and representers.get(dict) is usual.represent_dict
        and representers.get(list) is usual.represent_list
    )


def _document(container: Any) -> str:
    if type(container) is dict and container:
        return "".join(_entries(container, 0))
    if type(container) is list and container and all(_is_word(item) for item in container):
        return "".join(f"- {item}\n" for item in container)
    raise _Foreign


def _entries(mapping: dict[Any, Any], depth: int) -> Iterator[str]:
    for key, value in mapping.items():
        is_word = _is_word(key)
        if type(value) is dict and value:
            yield f"{_INDENT * depth}{key}:\n" if is_word else _heading(key, depth)
            yield from _entries(value, depth + 1)
        elif is_word and (type(value) is int or _is_word(value)):
            yield f"{_INDENT * depth}{key}: {value}\n"
        else:
            yield _entry(key, value, depth)


def _is_word(value: Any) -> bool:
    return type(value) is str and bool(_WORD.fullmatch(value)) and not _NO_WORDS.fullmatch(value)


def _heading(key: Any, depth: int) -> str:
    """Return the line above a mapping."""
    entry = _entry(key, None, depth)
    if entry.count("\n") != 1 or not entry.endswith(": null\n"):
        raise _Foreign
    return entry[: -len(" null\n")] + "\n"


def _entry(key: Any, value: Any, depth: int) -> str:
    if not (_is_plain(key) and _is_plain(value)):
        raise _Foreign
    name = f"{depth} {key!r} {value!r}"
    text = _written.get(name)
    if text is None:
        nested = {key: value}
        for _ in range(depth):
            nested = {"a": nested}
        text = _written[name] = _dump(nested).split("\n", depth)[depth]
    return text


def _is_plain(value: Any) -> bool:
    """Say whether a value is told from all others by its repr."""
    if type(value) is list:
        return all(_is_plain(item) for item in value)
    if type(value) is dict:
        return all(_is_plain(item) for pair in value.items() for item in pair)
    return type(value) in _ATOMS


def _dump(value: Any) -> str:
    """Write a value with the options of `OmegaConf.to_yaml`."""
    text: str = yaml.dump(
        value, default_flow_style=False, allow_unicode=True, sort_keys=False, Dumper=get_omega_conf_dumper()
    )
    return text
