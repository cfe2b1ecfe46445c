"""A YAML document that a person or another process wrote: read so that no text can hurt the reader, and fast."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import yaml as pyyaml

from trainctl.config import yaml

MAX_DEPTH = 100  # libyaml's constructor recurses in C: a text of 60,000 brackets would end the training process
MAX_ALIASED = 1_000_000  # values of a document with aliases, each alias counted as all that it stands for

_TOO_DEEP = f"it is nested more than {MAX_DEPTH} deep"
_LOOK_AHEAD = 1024  # characters: how far libyaml reads on after a bracket, which may be the beginning of a key

_PLAIN_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_PLAIN_FLOAT = re.compile(r"[-+]?[0-9]+(?:\.[0-9]*(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)")
_NONE = object()


def read_document(text: str, error: Callable[[str], Exception], *, aliases: bool = False) -> Any:
    """Read YAML that is nested at most `MAX_DEPTH` deep, by OmegaConf's rules.

    Args:
        text: one document.
        error: makes the exception to raise from the reason.
        aliases: allow `*name`, as long as the value is no larger for it than `MAX_ALIASED` and `MAX_DEPTH` allow.

    Raises:
        Exception: what `error` makes.
    """
    try:
        builder = _YamlBuilder()
        reason = builder.feed(pyyaml.parse(text, Loader=yaml.Loader), aliases)
        if reason is None and builder.has_aliases:
            reason = _too_large(pyyaml.parse(text, Loader=yaml.Loader))
        if reason is None:
            return yaml.loads(text) if builder.is_unusual else builder.value
    except Exception as problem:  # PyYAML raises anything where a tag and its value do not fit
        if _is_deep_before(problem, text):
            raise error(_TOO_DEEP) from problem
        kind = "" if isinstance(problem, pyyaml.YAMLError | ValueError | TypeError) else f"{type(problem).__name__}: "
        raise error(f"it is not YAML ({kind}{' '.join(str(problem).split())[:200]})") from problem
    raise error(reason)


def is_deep(value: Any, left: int = MAX_DEPTH) -> bool:
    """Whether lists and mappings are nested more than `left` deep.

    >>> is_deep([[1]], 2), is_deep([[1]], 1)
    (False, True)
    """
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return left == 0 or any(is_deep(one, left - 1) for one in inner)


def _too_large(events: Iterable[Any]) -> str | None:
    """Say why a document is refused for what its aliases stand for; None when it is not."""
    known: dict[str, tuple[int, int]] = {}  # by anchor: how many values, how deep
    stack: list[list[Any]] = [[None, 0, 0]]  # of those that are open: the anchor, and both so far
    for event in events:
        kind = type(event)
        if kind is pyyaml.MappingStartEvent or kind is pyyaml.SequenceStartEvent:
            stack.append([event.anchor, 1, 1])
            continue
        if kind is pyyaml.MappingEndEvent or kind is pyyaml.SequenceEndEvent:
            anchor, size, depth = stack.pop()
        elif kind is pyyaml.ScalarEvent:
            anchor, size, depth = event.anchor, 1, 0
        elif kind is pyyaml.AliasEvent:
            if event.anchor not in known:
                return f"it has a YAML alias (*{event.anchor[:60]}) that refers to nothing, or to what contains it"
            anchor, (size, depth) = None, known[event.anchor]
        else:
            continue
        if anchor is not None:
            known[anchor] = (size, depth)
        above = stack[-1]
        above[1], above[2] = above[1] + size, max(above[2], depth + 1)
        if above[1] > MAX_ALIASED:
            return f"its YAML aliases make it larger than {MAX_ALIASED:,} values"
        if above[2] + len(stack) - 2 > MAX_DEPTH:
            return f"its YAML aliases make it nested more than {MAX_DEPTH} deep"
    return None


def _is_deep_before(problem: Exception, text: str) -> bool:
    """Whether libyaml's own limit was met first: from 0.2.6 on it reads 1,000 levels, and reads on before it tells."""
    mark = getattr(problem, "problem_mark", None)
    if mark is None:
        return False
    read = text[max(0, mark.index - _LOOK_AHEAD) : mark.index]
    return sum(map(read.count, "[{")) - sum(map(read.count, "]}")) > MAX_DEPTH


class _YamlBuilder:
    """Makes the value while the events pass by, which takes a third of the time that PyYAML's way by nodes takes.

    What is rare (tags, aliases, merge keys, keys that are not scalars, several documents) makes the text `is_unusual`,
    and is left to PyYAML; so is a key given twice, for its error.
    """

    def __init__(self) -> None:
        self.value: Any = None
        self.is_unusual = self.has_aliases = False
        self._documents = 0
        self._known: dict[str, Any] = {}  # plain scalars that were read before
        self._stack: list[Any] = []
        self._keys: list[Any] = []  # for each mapping on the stack, the key whose value comes next

    def feed(self, events: Iterable[Any], aliases: bool) -> str | None:
        """Take all events; return why the document is refused, None when it is not."""
        for event in events:
            kind = type(event)
            if kind is pyyaml.ScalarEvent:
                self._add(self._scalar(event))
            elif kind is pyyaml.MappingStartEvent or kind is pyyaml.SequenceStartEvent:
                self._begin(event, {} if kind is pyyaml.MappingStartEvent else [])
                if len(self._stack) > MAX_DEPTH:
                    return _TOO_DEEP
            elif kind is pyyaml.MappingEndEvent or kind is pyyaml.SequenceEndEvent:
                self._stack.pop()
                self._keys.pop()
            elif kind is pyyaml.DocumentStartEvent:
                self._documents += 1
                self.is_unusual |= self._documents > 1
            elif kind is pyyaml.AliasEvent:
                if not aliases:
                    return "it has a YAML alias (*name), which is not allowed"
                self.is_unusual = self.has_aliases = True
                self._add(None)
        return None

    def _begin(self, event: Any, container: Any) -> None:
        if event.tag is not None or event.anchor is not None:
            self.is_unusual = True
        self._add(container)
        self._stack.append(container)
        self._keys.append(_NONE)

    def _add(self, value: Any) -> None:
        if not self._stack:
            self.value = value
            return
        container = self._stack[-1]
        if isinstance(container, list):
            container.append(value)
        elif self._keys[-1] is not _NONE:
            container[self._keys[-1]] = value
            self._keys[-1] = _NONE
        elif isinstance(value, (dict, list)) or value in container:
            self.is_unusual = True
            self._keys[-1] = None
        else:
            self._keys[-1] = value

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if event.tag is not None or event.anchor is not None:
            self.is_unusual = True
            return text
        if not event.implicit[0]:
            return text
        value = self._known.get(text, _NONE)
        if value is _NONE:
            value = self._known[text] = self._read(text)
        return value

    def _read(self, text: str) -> Any:
        if _PLAIN_INT.fullmatch(text):
            return int(text)
        if _PLAIN_FLOAT.fullmatch(text):
            return float(text)
        if text in ("<<", "="):
            self.is_unusual = True
            return text
        return yaml.read_plain(text)
