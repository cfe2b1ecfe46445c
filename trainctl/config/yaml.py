"""YAML by OmegaConf's rules: floats are read back exactly, and documents from outside are read safely.

PyYAML alone reads `1e-4` as a string and dates as dates; OmegaConf reads the first as a float, the second as text.
The resolver below is the one of `omegaconf._utils.get_yaml_loader` (omegaconf 2.3), which is private there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import PurePath
from typing import Any

import yaml

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

MAX_DEPTH = 100  # libyaml's constructor recurses in C: a text of 60,000 brackets would end the training process
MAX_ALIASED = 1_000_000  # values of a document with aliases, each alias counted as all that it stands for

_MOST_DIGITS = 1000  # of a whole number: Python refuses to write one of more than 4,300

_TOO_DEEP = f"it is nested more than {MAX_DEPTH} deep"
_LOOK_AHEAD = 1024  # characters: how far libyaml reads on after a bracket, which may be the beginning of a key

_PLAIN_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_PLAIN_FLOAT = re.compile(r"[-+]?[0-9]+(?:\.[0-9]*(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)")
_UNKNOWN_TAG = re.compile("could not determine a constructor for the tag (.*)")
_NONE = object()
_FLOAT = re.compile(
    r"""^(?:
     [-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)
    |\.[0-9]+(?:_[0-9]+)*(?:[eE][-+][0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*(?::[0-5]?[0-9])+\.[0-9_]*
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)


class Loader(_Loader):  # type: ignore[misc]  # the C class is untyped
    """A safe loader with OmegaConf's floats and no dates; duplicate keys and huge integers are errors."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge" or not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    "while constructing a mapping", node.start_mark, f"found duplicate key {key.value}", key.start_mark
                )
            seen.add((key.tag, key.value))
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


class Dumper(_Dumper):  # type: ignore[misc]  # the C class is untyped
    """A safe dumper that quotes whatever `Loader` would read as something else, and never writes an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _construct_int(loader: Any, node: yaml.ScalarNode) -> int:
    if len(node.value) > _MOST_DIGITS:
        problem = f"found a whole number of more than {_MOST_DIGITS} digits"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    value: int = loader.construct_yaml_int(node)
    return value


Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)

for _class in (Loader, Dumper):
    _class.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in _class.yaml_implicit_resolvers.items()
    }
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def _represent_float(dumper: Any, value: float) -> yaml.ScalarNode:
    if math.isnan(value):
        text = ".nan"
    elif math.isinf(value):
        text = ".inf" if value > 0 else "-.inf"
    else:
        text = repr(value)
    node: yaml.ScalarNode = dumper.represent_scalar("tag:yaml.org,2002:float", text)
    return node


def _represent_text(dumper: Any, value: Any) -> yaml.ScalarNode:
    text = value.name if isinstance(value, Enum) else str(value)
    node: yaml.ScalarNode = dumper.represent_scalar("tag:yaml.org,2002:str", text)
    return node


class _OneLineDumper(Dumper):
    """Writes a line break in a text as an escape."""


def _represent_escaped(dumper: Any, value: str) -> yaml.ScalarNode:
    style = None if value.isprintable() else '"'
    node: yaml.ScalarNode = dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)
    return node


_OneLineDumper.add_representer(str, _represent_escaped)
Dumper.add_representer(float, _represent_float)
Dumper.add_multi_representer(Enum, _represent_text)
Dumper.add_multi_representer(PurePath, _represent_text)


def loads(text: str) -> Any:
    """Read one YAML document by OmegaConf's rules.

    Raises:
        yaml.YAMLError: the text is not YAML, has a key twice, or asks for a Python object.

    >>> loads("lr: 1e-4\\nday: 2026-01-01")
    {'lr': 0.0001, 'day': '2026-01-01'}
    """
    return yaml.load(text, Loader=Loader)


def read_plain(text: str) -> Any:
    """Return the value of an unquoted scalar.

    >>> read_plain("1e-4"), read_plain("yes"), read_plain("2026-01-01")
    (0.0001, True, '2026-01-01')
    """
    resolvers = Loader.yaml_implicit_resolvers
    for tag, pattern in (*resolvers.get(text[:1], ()), *resolvers.get(None, ())):
        if pattern.match(text):
            loader = Loader("")
            try:
                return loader.construct_object(yaml.ScalarNode(tag, text), deep=True)
            finally:
                loader.dispose()
    return text


def dumps(value: Any, *, flow: bool | None = False) -> str:
    """Write a value so that `loads(dumps(value)) == value`, in the order given, enums by name, paths as text.

    >>> dumps({"lr": 1e-05, "name": "1e-4"})
    "lr: 1e-05\\nname: '1e-4'\\n"
    """
    text: str = yaml.dump(
        value, Dumper=Dumper, default_flow_style=flow, sort_keys=False, allow_unicode=True, width=10**9
    )
    return text


def inline(value: Any) -> str:
    """Write a value on one line: `[0.9, 0.999]`, `{name: new}`, `1e-05`.

    >>> inline([0.9, None, "a b", "1"])
    "[0.9, null, a b, '1']"
    """
    return dumps([value], flow=True).strip()[1:-1]


def one_line(value: Any) -> str:
    r"""Write a value on one line without line breaks, so that it can be a comment.

    >>> print(one_line({"text": "two\nlines"}))
    {text: "two\nlines"}
    """
    text: str = yaml.dump(
        value, Dumper=_OneLineDumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9
    )
    return text.strip()


def read_document(text: str, error: Callable[[str], Exception], *, aliases: bool = False) -> Any:
    """Read YAML that is nested at most `MAX_DEPTH` deep, by OmegaConf's rules.

    Args:
        text: one document.
        error: makes the exception to raise from the reason.
        aliases: allow `*name`, as long as the expanded value stays within `MAX_ALIASED` and `MAX_DEPTH`.

    Raises:
        Exception: what `error` makes.
    """
    try:
        builder = _YamlBuilder()
        reason = builder.feed(yaml.parse(text, Loader=Loader), aliases)
        if reason is None and builder.has_aliases:
            reason = _too_large(yaml.parse(text, Loader=Loader))
        if reason is None:
            return loads(text) if builder.is_unusual else builder.value
    except Exception as problem:  # PyYAML raises anything where a tag and its value do not fit
        if _is_deep_before(problem, text):
            raise error(_TOO_DEEP) from problem
        raise error(f"it is not YAML ({why_unread(problem)})") from problem
    raise error(reason)


def why_unread(problem: Exception) -> str:
    """Say on one line what PyYAML cannot read, and where, in words of YAML.

    >>> try:
    ...     loads("a: 1\\na: 2")
    ... except yaml.YAMLError as problem:
    ...     why_unread(problem)
    'line 2, column 1: found duplicate key a while constructing a mapping'
    """
    if isinstance(problem, yaml.reader.ReaderError):
        return f"the character #x{problem.character:04x} at position {problem.position} is not allowed"
    if not isinstance(problem, yaml.MarkedYAMLError) or not problem.problem:
        return _TOO_DEEP if isinstance(problem, RecursionError) else "a number, day or tagged value cannot be read"
    mark = problem.problem_mark or problem.context_mark
    where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
    tag = _UNKNOWN_TAG.fullmatch(problem.problem)
    if tag:
        what = f"the tag {tag[1].replace('tag:yaml.org,2002:', '!!')} is not allowed"
    elif problem.problem == "but found another document":
        what = "a second document begins"
    else:
        what = problem.problem.replace("unhashable", "list or mapping as a")
        what += f" {problem.context}" if problem.context and problem.context.startswith("while") else ""
    return " ".join(f"{where}{what}".split())[:200]


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
    """Return why a document with aliases is refused; None if it is not."""
    known: dict[str, tuple[int, int]] = {}  # by anchor: how many values, how deep
    stack: list[list[Any]] = [[None, 0, 0]]  # of those that are open: the anchor, and both so far
    for event in events:
        kind = type(event)
        if kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            stack.append([event.anchor, 1, 1])
            continue
        if kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            anchor, size, depth = stack.pop()
        elif kind is yaml.ScalarEvent:
            anchor, size, depth = event.anchor, 1, 0
        elif kind is yaml.AliasEvent:
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
    """Whether libyaml's own limit was hit first: since 0.2.6 it allows 1,000 levels, and reads ahead before raising."""
    mark = getattr(problem, "problem_mark", None)
    if mark is None:
        return False
    read = text[max(0, mark.index - _LOOK_AHEAD) : mark.index]
    return sum(map(read.count, "[{")) - sum(map(read.count, "]}")) > MAX_DEPTH


class _YamlBuilder:
    """Builds the value directly from parser events, three times as fast as PyYAML's nodes.

    Rare features (tags, aliases, merge keys, keys that are not scalars, several documents) set `is_unusual` and are
    left to PyYAML; so are duplicate keys, for its error.
    """

    def __init__(self) -> None:
        self.value: Any = None
        self.is_unusual = self.has_aliases = False
        self._documents = 0
        self._known: dict[str, Any] = {}  # plain scalars that were read before
        self._stack: list[Any] = []
        self._keys: list[Any] = []  # for each mapping on the stack, the key whose value comes next

    def feed(self, events: Iterable[Any], aliases: bool) -> str | None:
        """Take all events; return why the document is refused, None if it is not."""
        for event in events:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._add(self._scalar(event))
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                self._begin(event, {} if kind is yaml.MappingStartEvent else [])
                if len(self._stack) > MAX_DEPTH:
                    return _TOO_DEEP
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._stack.pop()
                self._keys.pop()
            elif kind is yaml.DocumentStartEvent:
                self._documents += 1
                self.is_unusual |= self._documents > 1
            elif kind is yaml.AliasEvent:
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
        return read_plain(text)
