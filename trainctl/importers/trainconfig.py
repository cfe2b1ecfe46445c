"""Importing configs and changelogs of trainconfig: its key modifiers (`lr[float|1e-6|1|log]!`) become controls.

What cannot be imported is reported, key by key. trainconfig (0.x) takes of a key only its first
word (`weight-decay` is `weight` to it), so its changelogs name keys by that word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml as pyyaml
from omegaconf import OmegaConf

from trainctl.config import yaml
from trainctl.config.changelog import Changelog, Edit
from trainctl.config.controls import Key, keys_of
from trainctl.config.edit import check_recorded
from trainctl.config.keys import join, leaves, split
from trainctl.config.values import is_same
from trainctl.config.yaml import read_document
from trainctl.errors import EditError, SettingError

_MODIFIED = re.compile(r"(.*?)\s*((?:\[[^\[\]]*\])?)(!*)", re.DOTALL)
_RESERVED = ("defaults", "hydra", "trainctl")
_HEAD = "# Made of {source} by `trainctl import trainconfig`.\n"


@dataclass(slots=True)
class ImportedConfig:
    """A config that was carried over.

    Attributes:
        values: its values, the modifiers taken off the keys.
        controls: for `trainctl.controls`, by pattern, in trainconfig's own words where they are known.
        notes: what was not carried, or not as it stood, one sentence each.
    """

    values: dict[Any, Any] = field(default_factory=dict)
    controls: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def keys(self) -> dict[str, Key]:
        """How each key may be edited."""
        return keys_of(OmegaConf.create(self.values), self.controls, editable=True)


def carry(text: str, source: str = "the file") -> ImportedConfig:
    """Carry a config over; what lies below a locked key is locked.

    Raises:
        SettingError: the text is not YAML, or not a mapping.
    """

    def error(reason: str) -> SettingError:
        return SettingError(f"{source} is not a config of trainconfig: {reason}")

    config = read_document(text, error, aliases=True)
    if not isinstance(config, dict):
        raise error("it must be a mapping of keys to values")
    found = ImportedConfig()
    try:
        found.notes.extend(_read_otherwise(config, pyyaml.safe_load(text), ()))
    except Exception as problem:  # noqa: BLE001  # PyYAML raises anything; a day such as 2026-02-30 is text here
        found.notes.append(f"trainconfig cannot read it itself ({yaml.why_unread(problem)})")
    marks: dict[str, str] = {}
    found.values = _mapping(config, (), "", found.notes, marks)
    for name in _RESERVED:
        if name in found.values:
            found.notes.append(f"{name} has a special meaning in a Hydra config; left out, give it another name")
            del found.values[name]
    known = leaves(found.values)
    for key, mark in marks.items():
        if key in known and not _add(found, key, mark):
            left = "only its lock is kept" if mark.endswith("!") else "left out"
            found.notes.append(f"{key}: the modifier {mark!r} does not fit a control; {left}")
    return found


def carry_changelog(changelog: Changelog, imported: ImportedConfig) -> Changelog:
    """Carry a changelog over; it is of the imported config, whose controls and notes may get additions.

    Keys get the names that the config has. What no replay could apply is left out and named.
    """
    base = _renamed(changelog.base, imported.values, (), imported)
    keys: Mapping[str, Key] = imported.keys
    kept: list[Edit] = []
    for edit in changelog.edits:
        values: dict[str, Any] = {}
        for key, value in edit.values.items():
            path = _full_path(split(key), imported.values)
            if path is None:
                imported.notes.append(f"step {edit.step}: {key} names no single key of the config; left out")
                continue
            if keys[join(path)].type == "int" and type(value) is float:
                keys = _widened(edit.step, join(path), keys, imported)
            try:
                values[join(path)] = check_recorded(join(path), value, keys)
            except EditError as error:
                imported.notes.append(f"step {edit.step}: {error}; left out")
        if values:
            kept.append(Edit(edit.step, values, note=edit.note))
    began, now = leaves(base), leaves(imported.values)
    for key in began:
        if not is_same(began[key], now.get(key)):
            first, given = yaml.inline(began[key]), yaml.inline(now.get(key))
            imported.notes.append(
                f"{key}: the changelog began with {first}, the config has {given}; to repeat the changelog start with "
                "the first, or with trainctl.drift=allow"
            )
    return Changelog(base, kept)


def write(imported: ImportedConfig, source: str) -> str:
    """Write a config for Hydra that `defaults: [trainctl]` makes live."""
    content = {"defaults": ["trainctl", "_self_"], **imported.values}
    if imported.controls:
        content["trainctl"] = {"controls": imported.controls}
    return _HEAD.format(source=source) + yaml.dumps(content, flow=False)


def _mapping(
    given: Mapping[Any, Any], above: tuple[Any, ...], lock: str, notes: list[str], marks: dict[str, str] | None
) -> dict[Any, Any]:
    """Return a mapping with plain keys; modifiers go to `marks` by dotted key, or, in a list (None), to the notes."""
    found: dict[Any, Any] = {}
    for raw, value in given.items():
        name, words, mark = _taken_apart(raw)
        key = join((*above, name))
        if name is None or isinstance(name, bytes | tuple):
            notes.append(f"{key}: a key of type {type(name).__name__} is not allowed; left out")
            continue
        if name in found:
            notes.append(f"{key}: {raw!r} names the key a second time; left out")
            continue
        if marks is None and (words or mark):
            notes.append(
                f"{key}: {words + mark!r} is left out: a list is edited whole, so what is in it has no control"
            )
        locked = mark or lock
        if isinstance(value, dict) and value:
            if words and marks is not None:
                notes.append(f"{key}: the modifier {words!r} is left out: it is for values, and this holds keys")
            found[name] = _mapping(value, (*above, name), locked, notes, marks)
            continue
        try:
            found[name] = _value(value, (*above, name), notes)
        except ValueError as error:
            notes.append(f"{key}: {error}; left out")
            continue
        if marks is not None and (words or locked):
            marks[key] = words + locked
    return found


def _taken_apart(raw: Any) -> tuple[Any, str, str]:
    """Return a key's name, its words in brackets, and its lock."""
    if not isinstance(raw, str):
        return raw, "", ""
    match = _MODIFIED.fullmatch(raw)
    assert match is not None  # the pattern takes any text
    return match[1], match[2], "!" if match[3] else ""


def _value(value: Any, path: tuple[Any, ...], notes: list[str]) -> Any:
    if isinstance(value, dict):
        return _mapping(value, path, "", notes, None)
    if isinstance(value, list):
        return [_value(item, (*path, number), notes) for number, item in enumerate(value)]
    if isinstance(value, str):
        if value == "???":
            raise ValueError("??? means a missing value in a Hydra config")
        return re.sub(r"(\\*)\$\{", r"\1\1\\${", value)  # there it is text, here it would refer to another key
    if value is None or isinstance(value, bool | int | float):
        return value
    raise ValueError(f"a value of type {type(value).__name__} is not allowed in a config")


def _add(imported: ImportedConfig, key: str, spec: Any) -> bool:
    """Add a control for one key if it fits; say whether it does."""
    pattern = re.sub(r"([*?[])", r"[\1]", key)
    try:
        keys_of(OmegaConf.create(imported.values), {pattern: spec}, editable=True)
    except SettingError:
        if not isinstance(spec, str) or not spec.endswith("!") or spec == "!":
            return False
        imported.controls[pattern] = "!"  # the lock at least
        return False
    imported.controls[pattern] = spec
    return True


def _widened(step: int, key: str, keys: Mapping[str, Key], imported: ImportedConfig) -> Mapping[str, Key]:
    """Let a key of whole numbers take any number, as trainconfig does; return the keys with it."""
    spec = keys[key]
    added = {"type": "float", "min": spec.min, "max": spec.max, "log": spec.log or None, "locked": spec.locked}
    _add(imported, key, {word: said for word, said in added.items() if said is not None})
    imported.notes.append(f"{key}: it takes any number (type: float in its control), since step {step} gave it one")
    return imported.keys


def _renamed(
    given: Mapping[Any, Any], values: Mapping[Any, Any], above: tuple[Any, ...], imported: ImportedConfig
) -> dict[Any, Any]:
    """Return step 0 with the names of the config, in its order; what the changelog lacks is as in the config."""
    named: dict[Any, Any] = {}
    for word, value in given.items():
        name = _full_name(word, values)
        if name is None:
            why = "several keys of the config" if _names(word, values) else "not a key of the config"
            imported.notes.append(f"step 0: {join((*above, word))} is {why}; left out")
        else:
            named[name] = value
    found: dict[Any, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            inner = named.get(name)
            found[name] = _renamed(inner if isinstance(inner, dict) else {}, value, (*above, name), imported)
        else:
            found[name] = value
            if name in named:
                try:
                    found[name] = _value(named[name], (*above, name), imported.notes)
                except ValueError as error:
                    imported.notes.append(f"step 0: {join((*above, name))}: {error}; as in the config")
    return found


def _full_path(path: tuple[str, ...], values: Any) -> tuple[Any, ...] | None:
    """Return the path of a leaf of the config that a changelog means; None when there is none."""
    if not path:
        return None if isinstance(values, dict) and values else ()
    name = _full_name(path[0], values) if isinstance(values, dict) else None
    below = None if name is None else _full_path(path[1:], values[name])
    return None if below is None else (name, *below)


def _full_name(word: Any, values: Mapping[Any, Any]) -> Any:
    names = _names(word, values)
    return names[0] if len(names) == 1 else None


def _names(word: Any, values: Mapping[Any, Any]) -> list[Any]:
    """Return which keys a changelog may mean by a word: those that begin with it, else the one that is it."""
    names = [name for name in values if re.findall(r"\w+", str(name))[:1] == [str(word)]]
    return names or [name for name in values if str(name) == str(word)]


def _read_otherwise(value: Any, theirs: Any, path: tuple[Any, ...]) -> Iterator[str]:
    """Tell which values trainconfig, by PyYAML's rules, reads as something else: 1e-4 as text, a day as a date."""
    if isinstance(value, dict) and isinstance(theirs, dict):
        if len(value) != len(theirs):
            yield f"{join(path) or 'the config'}: trainconfig reads two of the keys as one"
            return
        for name, other in zip(value, theirs, strict=True):
            yield from _read_otherwise(value[name], theirs[other], (*path, name))
    elif isinstance(value, list) and isinstance(theirs, list):
        for number, (one, other) in enumerate(zip(value, theirs, strict=True)):
            yield from _read_otherwise(one, other, (*path, number))
    elif not is_same(value, theirs):
        yield (
            f"{join(path)}: it is {yaml.inline(value)} ({type(value).__name__}) here; trainconfig read "
            f"{theirs!r:.60} ({type(theirs).__name__})"
        )
