"""What a text means for a key: the edit that it asks for, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainctl.config import yaml
from trainctl.config.controls import Key
from trainctl.config.edit import QUOTED_NULL, parse_edit
from trainctl.errors import EditError

MAX_SHOWN = 20_000  # characters of a value that a field shows; a longer one can be replaced from the command line


@dataclass(frozen=True, slots=True)
class PendingEdit:
    """An edit that is not asked for yet: `error` says why it cannot be."""

    key: str
    old: str
    new: str
    error: str | None = None


def change_of(key: str, text: str, value: Any, keys: Mapping[str, Key]) -> PendingEdit | None:
    """Return the edit that a text asks for, where the run has `value`; None when that is the same."""
    spec = keys[key]
    shown = text_of(value, spec)
    if text == shown:
        return None
    try:
        parsed = parse_edit(key, text, keys)
    except EditError as error:
        return PendingEdit(key, shown, text, reason_of(error, spec))
    if type(parsed) is type(value) and parsed == value:
        return None
    return PendingEdit(key, shown, text)


def options_of(spec: Key) -> list[str] | None:
    """Return the texts that a key can have where these are few; None for any other key, and a plain switch."""
    if spec.choices is None and (spec.type != "bool" or not spec.optional):
        return None
    choices = spec.choices if spec.choices is not None else [True, False]
    return [text_of(choice, spec) for choice in choices] + (["null"] if spec.optional else [])


def text_of(value: Any, spec: Key) -> str:
    """Write a value as the text that `parse_edit` reads back as this value.

    >>> text_of("1e-4", Key("str")), text_of(0.0001, Key("float")), text_of(["a"], Key("list"))
    ('1e-4', '0.0001', '[a]')
    """
    if isinstance(value, str) and spec.type == "str":
        return QUOTED_NULL[0] if value == "null" else value
    text = yaml.inline(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + " …"


def reason_of(error: EditError, spec: Key) -> str:
    """Say what is wrong without the key, which the field stands for, and without the parser's words."""
    reason = str(error.__cause__ or error)
    if reason.startswith("it is not YAML"):
        example = {"list": "a list, such as [1, 2]", "dict": "a mapping, such as {a: 1}"}.get(spec.type, "a YAML value")
        return f"not {example}"
    return reason


def short(text: str | None) -> str:
    """Return a text that is cut where it is long."""
    text = text or ""
    return text if len(text) <= 60 else text[:60] + " …"
