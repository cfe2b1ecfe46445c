"""YAML by OmegaConf's rules, with floats that come back bit for bit.

PyYAML alone reads `1e-4` as a string and dates as dates; OmegaConf reads the first as a float, the second as text.
The resolver below is the one of `omegaconf._utils.get_yaml_loader` (omegaconf 2.3), which is private there.
"""

from __future__ import annotations

import math
import re
from enum import Enum
from pathlib import PurePath
from typing import Any

import yaml

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_MOST_DIGITS = 1000  # of a whole number: Python refuses to write one of more than 4,300

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
    """A safe loader: OmegaConf's floats, no dates; a key given twice and a number nobody can write are errors."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
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
    """Return the value of a scalar that stands in a document without quotes.

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
    r"""Write a value on one line that holds no line break, whatever is in its texts, so that it may be a comment.

    >>> print(one_line({"text": "two\nlines"}))
    {text: "two\nlines"}
    """
    text: str = yaml.dump(
        value, Dumper=_OneLineDumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9
    )
    return text.strip()
