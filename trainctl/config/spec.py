"""Parsing of controls: `{min: 1e-6, max: 1, log: true}`, or trainconfig's short form `[float|1e-6|1|log]!`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from trainctl.config.values import is_finite
from trainctl.errors import SettingError

When = Literal["live", "epoch", "restart"]

_TYPES = ("bool", "int", "float", "str", "list", "dict", "any")
_SHORT = re.compile(r"(?:\[([^\[\]]*)\])?(!?)")
_LOCKED = "locked by trainctl.controls"


@dataclass(frozen=True, slots=True)
class ControlSpec:
    """A control of the keys that a pattern matches; fields that are not given are None."""

    type: str | None = None
    optional: bool | None = None
    locked: str | None = None
    choices: list[Any] | None = None
    min: float | None = None
    max: float | None = None
    log: bool | None = None
    step: float | None = None
    hidden: bool | None = None
    when: When | None = None
    max_change: float | None = None
    checkpoint_first: bool | None = None
    help: str | None = None


def parse_spec(spec: Any, pattern: str = "", *, where: str | None = None) -> ControlSpec:
    """Read one control: a mapping of the words of `ControlSpec`, or the short form (`!` locks, `[type|min|max|log]`).

    `where` names the place of the control in an error; by default `trainctl.controls` with the pattern.

    Raises:
        SettingError: an unknown word, or a value that does not fit it.

    >>> parse_spec("[float|1e-6|1|log]!").max, parse_spec({"locked": "it is baked in"}).locked
    (1.0, 'it is baked in')
    """
    where = where or (f"trainctl.controls: {pattern!r}" if pattern else "trainctl.controls")
    if isinstance(spec, str):
        return _check(_short(spec, where), where)
    if not isinstance(spec, Mapping):
        raise SettingError(f"{where}: {spec!r} is not a control; write a mapping ({_words()}) or text such as '!'")
    unknown = sorted(str(word) for word in spec if word not in _FIELDS)
    if unknown:
        raise SettingError(f"{where} has the unknown word {unknown[0]!r}; allowed are {_words()}")
    return _check({str(word): value for word, value in spec.items()}, where)


def _short(text: str, where: str) -> dict[str, Any]:
    match = _SHORT.fullmatch(text.strip())
    if match is None or not text.strip():
        raise SettingError(f"{where}: {text!r} is not a control; allowed are '!' and '[type|min|max|log]', both or one")
    inside, mark = match.groups()
    words = [word.strip() for word in inside.split("|")] if inside else []
    found: dict[str, Any] = {}
    if "log" in words:
        words.remove("log")
        found["log"] = True
    if len(words) > 3:
        raise SettingError(f"{where}: {text!r} has too many words; allowed are '[type|min|max|log]'")
    for name, word in zip(("type", "min", "max"), words, strict=False):
        if word:
            found[name] = word if name == "type" else _number(word, f"{where}: {name}")
    if mark:
        found["locked"] = True
    return found


def _number(word: str, where: str) -> float:
    try:
        return float(word)
    except ValueError as error:
        raise SettingError(f"{where} must be a number but got {word!r}") from error


def _check(given: dict[str, Any], where: str) -> ControlSpec:
    kind = given.get("type")
    if kind is not None and (not isinstance(kind, str) or kind not in _TYPES):
        raise SettingError(f"{where}: type {kind!r} is not known; allowed are {', '.join(_TYPES)}")
    when = given.get("when")
    if when is not None and (not isinstance(when, str) or when not in get_args(When)):
        raise SettingError(f"{where}: when {when!r} is not known; allowed are {', '.join(get_args(When))}")
    for word in ("min", "max", "step", "max_change"):
        if given.get(word) is not None:
            given[word] = _finite(given[word], f"{where}: {word}")
    low, high = given.get("min"), given.get("max")
    if low is not None and high is not None and low > high:
        raise SettingError(f"{where}: min {low} is greater than max {high}")
    if given.get("max_change") is not None and given["max_change"] <= 1:
        raise SettingError(f"{where}: max_change must be a factor greater than 1 but got {given['max_change']!r}")
    for word in ("optional", "log", "hidden", "checkpoint_first"):
        if not isinstance(given.get(word), bool | None):
            raise SettingError(f"{where}: {word} must be true or false but got {given[word]!r}")
    choices = given.get("choices")
    if choices is not None and (not isinstance(choices, list) or not choices):
        raise SettingError(f"{where}: choices must be a list of at least one value but got {choices!r}")
    given["locked"] = _reason(given.get("locked"), where)
    if given.get("help") is not None:
        given["help"] = str(given["help"])
    return ControlSpec(**given)


def _finite(value: Any, where: str) -> float:
    if not is_finite(value):
        raise SettingError(f"{where} must be a finite number but got {value!r:.60}")
    return value


def _reason(locked: Any, where: str) -> str | None:
    if locked is None or locked is False:
        return None
    if locked is True:
        return _LOCKED
    if not isinstance(locked, str):
        raise SettingError(f"{where}: locked must be true, false or the reason as text but got {locked!r}")
    return locked or _LOCKED


def _words() -> str:
    return ", ".join(_FIELDS)


_FIELDS = tuple(field.name for field in dataclasses.fields(ControlSpec))
