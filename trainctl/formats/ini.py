"""Configs from .ini files, as prefigure has them (https://github.com/drscotthawley/prefigure)."""

from __future__ import annotations

import ast
import configparser
import re
from dataclasses import dataclass, field
from typing import Any

from trainctl.config.keys import nested
from trainctl.errors import SourceError

_DEFAULTS = ("DEFAULTS", "DEFAULT")
_COMMENT = ("#", ";")
_DELIMITER = re.compile(r"\s*[=:]")


@dataclass(frozen=True, slots=True)
class Ini:
    """What an .ini file says.

    Attributes:
        values: nested by the dots of its keys; section `DEFAULTS` is the top, any other section a key of its own.
        help: dotted key -> the comment above it.
    """

    values: dict[str, Any]
    help: dict[str, str] = field(default_factory=dict)


def read_ini(text: str, source: str) -> Ini:
    """Read the text of an .ini file. Values are Python literals (`1e-4`, `None`, `[1, 2]`), anything else is text.

    >>> read_ini("[DEFAULTS]\\n# how fast\\nlr = 1e-4\\nname = run one", "x.ini")
    Ini(values={'lr': 0.0001, 'name': 'run one'}, help={'lr': 'how fast'})

    Args:
        text: of the file.
        source: its name, for the sentence of an error.

    Raises:
        SourceError: it is not an .ini file, or a key is both a value and a section of others.
    """
    parser = configparser.ConfigParser(
        interpolation=None, default_section="\0none", comment_prefixes=_COMMENT, delimiters=("=", ":")
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their case
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise SourceError(f"{source}{_why_none(error, text)}") from error
    values = {
        _key(section, option): _value(raw) for section in parser.sections() for option, raw in parser.items(section)
    }
    return Ini(nested(values, source), {key: said for key, said in _comments(text).items() if key in values})


def _why_none(error: configparser.Error, text: str) -> str:
    """Return the end of the sentence that says which line is not one of an .ini file, and what is allowed there."""
    if isinstance(error, configparser.ParsingError):
        line = error.lineno if isinstance(error, configparser.MissingSectionHeaderError) else error.errors[0][0]
        written = text.split("\n")[line - 1].strip()
        if isinstance(error, configparser.MissingSectionHeaderError):
            wanted = "keys of the whole config go below [DEFAULTS]"
            return f", line {line}: {written!r} stands above the first [section]; {wanted}"
        return f", line {line}: {written!r} is not a [section], `key = value` or a comment (# or ;)"
    if isinstance(error, configparser.DuplicateOptionError):
        return f", line {error.lineno}: [{error.section}] has {error.option!r} twice; keep one of them"
    if isinstance(error, configparser.DuplicateSectionError):
        return f", line {error.lineno}: [{error.section}] is there twice; put its keys into one section"
    return f" is not an .ini file: {' '.join(str(error).split())}"


def _key(section: str, option: str) -> str:
    return option if section in _DEFAULTS else f"{section}.{option}"


def _value(raw: str | None) -> Any:
    text = "" if raw is None else raw.strip()
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return list(value) if isinstance(value, tuple) else value if _is_plain(value) else text


def _is_plain(value: Any) -> bool:
    """Whether YAML has such a value too."""
    if isinstance(value, dict):
        return all(isinstance(key, str | int) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _comments(text: str) -> dict[str, str]:
    """Return the comment lines that stand directly above each key."""
    found: dict[str, str] = {}
    section, above = "", []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith(_COMMENT):
            above.append(stripped.lstrip("#; ").rstrip())
            continue
        if stripped.startswith("[") and stripped.endswith("]"):
            section = stripped[1:-1]
        elif above and stripped and not line[0].isspace():
            option = _DELIMITER.split(stripped, maxsplit=1)[0]
            found[_key(section, option)] = " ".join(filter(None, above))
        above = []
    return found
