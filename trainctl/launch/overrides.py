"""Overrides, read as Hydra reads them; the plain ones, which is nearly all that a sweep has, without its parser."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, ValueType

# `key=value` with a key of ASCII names, and a number or a name for a value (as `hydra/grammar/OverrideLexer.g4` has
# them, without underscores in numbers). Hydra's own settings are left to Hydra.
_PLAIN = re.compile(
    r"(?P<key>(?!hydra)[A-Za-z_][A-Za-z0-9_]*(?:(?:\.[A-Za-z_][A-Za-z0-9_]*)*|(?:/[A-Za-z_][A-Za-z0-9_]*)*))="
    r"(?:(?P<int>[+-]?(?:0|[1-9][0-9]{0,17}))"
    r"|(?P<float>[+-]?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+))"
    r"|(?P<name>(?!(?:true|false|null|inf|nan)\Z)[A-Za-z_][A-Za-z0-9_-]*))",
    re.IGNORECASE | re.ASCII,
)


def parse_overrides(lines: Sequence[str]) -> list[Override]:
    """Return what `OverridesParser.parse_overrides` returns.

    Raises:
        OverrideParseException: as Hydra's own parser raises it.
    """
    plain = [_plain(line) for line in lines]
    return [each or _parser().parse_overrides([line])[0] for each, line in zip(plain, lines, strict=True)]


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def _plain(line: str) -> Override | None:
    match = _PLAIN.fullmatch(line)
    if match is None:
        return None
    value: int | float | str
    if match["int"] is not None:
        value = int(match["int"])
    elif match["float"] is not None:
        value = float(match["float"])
    else:
        value = match["name"]
    return Override(
        type=OverrideType.CHANGE, key_or_group=match["key"], _value=value, value_type=ValueType.ELEMENT, input_line=line
    )
