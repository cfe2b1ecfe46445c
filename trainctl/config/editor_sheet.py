"""The keys of a run as a YAML text to edit, and the changes made in it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from trainctl.config import yaml
from trainctl.config.controls import Key
from trainctl.config.keys import find, join
from trainctl.config.values import is_same
from trainctl.config.yaml import read_document
from trainctl.errors import EditError


def editable(values: Mapping[Any, Any], keys: Mapping[str, Key]) -> dict[Any, Any]:
    """Return the part of a plain config that can be edited now: no locked, hidden or `when: restart` keys.

    >>> editable({"lr": 0.1, "m": {"depth": 2}}, {"lr": Key("float"), "m.depth": Key("int", locked="why")})
    {'lr': 0.1}
    """
    found: dict[Any, Any] = {}
    for path, value in _leaves(values, keys, ()):
        key = keys[join(path)]
        if key.locked is None and not key.hidden and key.when != "restart":
            nested = found
            for name in path[:-1]:
                nested = nested.setdefault(name, {})
            nested[path[-1]] = value
    return found


def write(values: Mapping[Any, Any], keys: Mapping[str, Key], head: str) -> str:
    """Write the sheet: `head` as comments, then each key below a comment that says what it takes."""
    lines = [f"# {line}".rstrip() + "\n" for line in head.splitlines()]
    return "".join([*lines, *_lines(values, keys, ())])


def changes(before: Mapping[Any, Any], text: str, keys: Mapping[str, Key]) -> dict[str, Any]:
    """Return the values changed in the edited text, by dotted key; deleted keys count as unchanged.

    Raises:
        EditError: it is not YAML, or has a key that the sheet has not.
    """
    after = read_document(text, lambda reason: EditError(f"the text cannot be read: {reason}"))
    if after is None:
        return {}
    if not isinstance(after, dict):
        raise EditError(f"the text must be keys with their values, but it is {type(after).__name__}")
    return dict(_differing(before, after, keys, ()))


def describe(key: Key) -> str:
    """Describe on one line which values a key takes.

    >>> describe(Key("float", min=0.0, max=1.0, max_change=10, help="step size"))
    'float, 0.0 to 1.0, changed by a factor of 10 at most: step size'
    """
    parts: list[str] = [key.type + (" or null" if key.optional else "")]
    if key.choices is not None:
        parts.append("one of " + ", ".join(yaml.inline(choice) for choice in key.choices))
    if key.min is not None and key.max is not None:
        parts.append(f"{key.min!r} to {key.max!r}")
    elif key.min is not None:
        parts.append(f"at least {key.min!r}")
    elif key.max is not None:
        parts.append(f"at most {key.max!r}")
    if key.max_change is not None:
        parts.append(f"changed by a factor of {key.max_change:g} at most")
    if key.when == "epoch":
        parts.append("from the next epoch on")
    text = ", ".join(parts) + (f": {key.help}" if key.help else "")
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _leaves(
    values: Mapping[Any, Any], keys: Mapping[str, Key], above: tuple[Any, ...]
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    for name, value in values.items():
        path = (*above, name)
        if join(path) in keys:
            yield path, value
        elif isinstance(value, dict):
            yield from _leaves(value, keys, path)


def _lines(values: Mapping[Any, Any], keys: Mapping[str, Key], above: tuple[Any, ...]) -> Iterator[str]:
    indent = "  " * len(above)
    for name, value in values.items():
        key = keys.get(join((*above, name)))
        if key is None:
            yield textwrap.indent(yaml.dumps({name: None}).removesuffix(" null\n") + "\n", indent)
            yield from _lines(value, keys, (*above, name))
        else:
            flow = None if isinstance(value, dict | list) else False
            yield f"{indent}# {describe(key)}\n"
            yield textwrap.indent(yaml.dumps({name: value}, flow=flow), indent)


def _differing(
    before: Mapping[Any, Any], after: Mapping[Any, Any], keys: Mapping[str, Key], above: tuple[Any, ...]
) -> Iterator[tuple[str, Any]]:
    for name, value in after.items():
        try:
            known = find(before, str(name))
        except KeyError as error:
            raise EditError(f"{join((*above, name))}: there is no such key in the text that was opened") from error
        path = join((*above, known))
        if path in keys:
            if not is_same(before[known], value):
                yield path, value
        elif not isinstance(value, dict):
            raise EditError(f"{path} holds keys, and cannot be given the value {yaml.inline(value)[:60]}")
        else:
            yield from _differing(before[known], value, keys, (*above, known))
