"""Configs from gin files (https://github.com/google/gin-config): their bindings, as nested keys."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from trainctl.config.keys import nested
from trainctl.errors import SourceError

_NOT_A_VALUE = re.compile(r"Failed to parse token '(.*)'$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Link:
    """A macro (`%NAME`) or a reference (`@name`, `@name()`): followed when all bindings are known."""

    name: str
    written: str


def read_gin(text: str, source: str) -> dict[str, Any]:
    """Return what a gin file binds: `train.lr = 0.1` is `{"train": {"lr": 0.1}}`; a later binding wins.

    The file is parsed by gin-config and never executed: nothing is imported, included or looked up. A scope is a key
    above (`eval/Model.dim`: `eval.Model.dim`), a macro `%NAME` is `${NAME}`, and `@name` or `@name()` is `${name}`
    where the file binds parameters of `name`.

    Args:
        text: of the file.
        source: its name, for the sentence of an error.

    Raises:
        SourceError: gin-config is not installed; the text is not gin; or it has what no config can hold: imports,
            includes, references to code, constants that are defined elsewhere. All of these are named.
    """
    bindings: dict[str, tuple[int, Any]] = {}
    lost: list[str] = []
    for line, key, value in _statements(text, source):
        if key is None:
            lost.append(f"line {line}: {value}")
        else:
            bindings[key] = line, value
    names = {key[:end] for key in bindings for end in range(len(key) + 1) if key[end : end + 1] in ("", ".")}
    values = {key: _plain(value, names, f"line {line}: ", lost) for key, (line, value) in bindings.items()}
    if lost:
        raise SourceError(f"{source} has values that no config can hold: {'; '.join(lost)}")
    return nested(values, source)


def _statements(text: str, source: str) -> Iterator[tuple[int, str | None, Any]]:
    """Yield line, key and value of each binding; without a key the value is the text of an import or an include."""
    try:
        from gin import config_parser as gin
    except ImportError as error:
        raise SourceError(f"{source} needs the package gin-config: pip install 'hydra-trainctl[gin]'") from error

    class Links(gin.ParserDelegate):  # type: ignore[misc]  # gin-config has no types
        def configurable_reference(self, name: str, evaluate: bool) -> _Link:
            return _Link(name.replace("/", "."), f"@{name}{'()' if evaluate else ''}")

        def macro(self, name: str) -> _Link:
            return _Link(name.replace("/", "."), f"%{name}")

    parser = None
    try:
        parser = gin.ConfigParser(text, Links())
        while (statement := parser.parse_statement()) is not None:
            line = statement.location.line_num
            if isinstance(statement, gin.BindingStatement):
                parts = (statement.scope.replace("/", "."), statement.selector, statement.arg_name)
                yield line, ".".join(filter(None, parts)), statement.value
            elif isinstance(statement, gin.ImportStatement):
                yield line, None, statement.format()
            elif isinstance(statement, gin.IncludeStatement):
                yield line, None, f"include {statement.filename!r}"
    except (SyntaxError, tokenize.TokenError) as error:
        at, reason = (error.lineno, error.msg) if isinstance(error, SyntaxError) else (error.args[1][0], error.args[0])
        token = _NOT_A_VALUE.search(str(reason))
        said = f"{token[1]} is not a value; quote it if it is text" if token else " ".join(str(reason).split())
        raise SourceError(f"{source}, line {at}: not gin: {said}") from None
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        at = parser.current_token.start[0] if parser is not None else 1
        reason = "a list or a dict is the key of a dict" if isinstance(error, TypeError) else "it is nested too deep"
        raise SourceError(f"{source}, line {at}: not a value of gin: {reason}") from None


def _plain(value: Any, names: Collection[str], line: str, lost: list[str]) -> Any:
    """Return a value as a config holds it; what leads to nothing that the file binds is added to `lost`."""
    if isinstance(value, list | tuple):
        return [_plain(item, names, line, lost) for item in value]
    if isinstance(value, dict):
        lost += [f"{line}{key.written} as a key" for key in value if isinstance(key, _Link)]
        return {key: _plain(item, names, line, lost) for key, item in value.items()}
    if isinstance(value, str):
        return value.replace("${", "\\${")  # gin has no interpolation: it is text
    if not isinstance(value, _Link):
        return value
    if value.name not in names:
        lost.append(f"{line}{value.written}")
    return f"${{{value.name}}}"
