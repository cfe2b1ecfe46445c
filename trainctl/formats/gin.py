"""Configs from gin files (https://github.com/google/gin-config): what they bind, as nested keys."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from trainctl.config.keys import nested
from trainctl.errors import SourceError

_STATEMENT = re.compile(r"(?P<name>[A-Za-z_][\w./]*)\s*=\s*(?P<value>.*)", re.DOTALL)
_MARK = "\ue000"  # stands for a macro or reference while Python reads the value
_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")


@dataclass(slots=True)
class _Reading:
    source: str
    bindings: dict[str, Any] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)


def read_gin(text: str, source: str) -> dict[str, Any]:
    """Return what a gin file binds: `train.lr = 0.1` is `{"train": {"lr": 0.1}}`; a later binding wins.

    A scope is a key above (`eval/Model.dim`: `eval.Model.dim`), a macro `%NAME` is `${NAME}`, and `@name` or `@name()`
    is `${name}` where the file binds parameters of `name`.

    >>> read_gin("WIDTH = 3\\nModel.dim = %WIDTH\\ntrain.model = @Model()", "x.gin")
    {'WIDTH': 3, 'Model': {'dim': '${WIDTH}'}, 'train': {'model': '${Model}'}}

    Args:
        text: of the file.
        source: its name, for the sentence of an error.

    Raises:
        SourceError: it is no gin file, or has what no config can hold: includes, references to code, constants that
            are defined elsewhere. All of these are named.
    """
    reading = _Reading(source)
    for line, statement in _statements(text, source):
        if re.match(r"(import|from|include)\b(?!\s*=)", statement):
            reading.lost.append(f"line {line}: {statement.split('#')[0].strip()}")
            continue
        match = _STATEMENT.fullmatch(statement)
        if match is None:
            raise SourceError(
                f"{source}, line {line}: {statement.splitlines()[0]!r} is no binding such as train.lr = 0.1"
            )
        reading.bindings[match["name"].replace("/", ".")] = _value(match["value"], line, reading)
    values = {key: _followed(value, reading) for key, value in reading.bindings.items()}
    if reading.lost:
        raise SourceError(f"{source} has what no config can hold: {'; '.join(reading.lost)}")
    return nested(values, source)


def _statements(text: str, source: str) -> Iterator[tuple[int, str]]:
    """Yield each statement with the number of its first line; one goes on while a bracket is open, or after `\\`."""
    depth, start = 0, 1
    parts: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not parts:
            start = number
        code = line if depth else line.strip()
        if not depth and (not code or code.startswith("#")) and not parts:
            continue
        goes_on = code.endswith("\\")
        parts.append(code[:-1] if goes_on else code)
        depth += _depth(code)
        if depth <= 0 and not goes_on:
            yield start, "\n".join(parts)
            depth, parts = 0, []
    if parts:
        raise SourceError(f"{source}, line {start}: a bracket is not closed")


def _depth(code: str) -> int:
    """Return how many brackets a line opens, outside of text and comments."""
    bare = re.sub(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|#.*", "", code)
    return sum((character in _OPEN) - (character in _CLOSE) for character in bare)


@dataclass(frozen=True, slots=True)
class _Link:
    """A macro (`%NAME`) or a reference (`@name`), to be followed when all bindings are known."""

    name: str
    written: str
    line: int


def _value(text: str, line: int, reading: _Reading) -> Any:
    links: list[_Link] = []
    plain = _without_links(text, line, links)
    try:
        value = ast.literal_eval(plain)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise SourceError(f"{reading.source}, line {line}: {text.strip()!r} is no value of gin") from None
    return _linked(value, links)


def _without_links(text: str, line: int, links: list[_Link]) -> str:
    """Return Python text in which links are marked texts; what stands in quotes stays."""
    out: list[str] = []
    position = 0
    for part in re.finditer(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|#[^\n]*|[%@][\w./]+(?:\(\))?", text):
        if part[0][0] not in "%@":
            continue
        out += [text[position : part.start()], repr(f"{_MARK}{len(links)}")]
        position = part.end()
        links.append(_Link(part[0][1:].removesuffix("()").replace("/", "."), part[0], line))
    return "".join([*out, text[position:]]).strip()


def _linked(value: Any, links: list[_Link]) -> Any:
    if isinstance(value, str):
        return links[int(value[1:])] if value.startswith(_MARK) and value[1:].isdigit() else value
    if isinstance(value, list | tuple):
        return [_linked(item, links) for item in value]
    if isinstance(value, dict):
        return {_linked(key, links): _linked(item, links) for key, item in value.items()}
    return value


def _followed(value: Any, reading: _Reading) -> Any:
    if isinstance(value, list):
        return [_followed(item, reading) for item in value]
    if isinstance(value, dict):
        return {key: _followed(item, reading) for key, item in value.items()}
    if isinstance(value, str):
        return value.replace("${", "\\${")  # gin has no interpolation: it is text
    if not isinstance(value, _Link):
        return value
    bound = value.name in reading.bindings or any(key.startswith(f"{value.name}.") for key in reading.bindings)
    if not bound:
        reading.lost.append(f"line {value.line}: {value.written}")
        return None
    return f"${{{value.name}}}"
