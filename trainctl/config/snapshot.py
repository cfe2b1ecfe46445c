"""The plain form of a config that is recorded at step 0."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from pathlib import PurePath
from typing import Any

from omegaconf import Container, DictConfig, Node, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainctl.config import keys
from trainctl.config._omegaconf import (
    MISSING,
    child,
    entries,
    is_missing,
    is_open,
    raw,
    resolved_text,
    text_of,
    walk,
)

_RESOLVER = re.compile(r"\$\{\s*([A-Za-z_][\w.]*)\s*:(.*)\}\Z", re.DOTALL)
_MOMENT = ("now", "hydra")  # their values tell when and where a run is, not what it computes
_ALWAYS_TEXT = ("oc.env", "oc.decode")  # an environment variable may be a secret
_NUMBER = re.compile(r"\.\d[\d_]*(?:[eE][-+]?\d+)?")  # all other words with a dot in front are relative keys
_PLAIN = (bool, int, float, str, bytes)


def leaves_of(config: DictConfig) -> dict[str, Any]:
    """Return the leaves of the snapshot, by dotted key."""
    return keys.leaves(snapshot(config))


def snapshot(config: DictConfig) -> dict[Any, Any]:
    """Return the config as plain values, its `hydra` node left out.

    References (`${optim.lr}`) stay text, so that they follow edits when the record is read back, and so do
    `${oc.env:…}` and calls of resolvers that mention a key. Other calls (`${now:…}`, `${hydra:…}`, `${mul:2,3}`) are
    replaced by their value; they stay text if they have none here, or none that YAML can hold. `???` stays; enums are
    written by name, paths as text.

    >>> snapshot(OmegaConf.create({"lr": 0.1, "lr_end": "${lr}", "home": "${oc.env:HOME}", "hydra": {"x": 1}}))
    {'lr': 0.1, 'lr_end': '${lr}', 'home': '${oc.env:HOME}'}
    """
    return {key: _plain(config, node, config) for key, node in entries(config) if key != "hydra"}


def recorded_by_value(config: DictConfig) -> dict[str, set[str]]:
    """Return the leaves that `snapshot` records by value, each with the names of the resolvers that were called.

    >>> recorded_by_value(OmegaConf.create({"day": "${now:%d}", "lr": 0.1}))
    {'day': {'now'}}
    """
    found: dict[str, set[str]] = {}
    for leaf in walk(config, skip=("hydra",), into_lists=False):
        names = {name for text in _texts(leaf.node) for span in spans(text) for name in _called(span, config)}
        if names:
            found[keys.dotted(leaf.path)] = names
    return found


def _texts(node: Node) -> Iterator[str]:
    """Yield the texts of the interpolations in a leaf, for a list those of all its items."""
    below = [leaf.node for leaf in walk(node)] if isinstance(node, Container) and is_open(node) else [node]
    yield from (text for text in map(text_of, below) if text is not None)


def moment_keys(config: DictConfig) -> set[str]:
    """Return the leaves that depend on time or place of a run (`${now:…}`, `${hydra:…}`) and so differ in every run."""
    return {key for key, names in recorded_by_value(config).items() if names & set(_MOMENT)}


def _plain(container: Container, node: Node, root: DictConfig) -> Any:
    if is_missing(node):
        return MISSING
    text = text_of(node)
    if text is not None:
        return _interpolated(text, container, root)
    value = raw(node)
    if isinstance(value, DictConfig):
        return {_plain_key(key): _plain(value, inner, root) for key, inner in entries(value)}
    if isinstance(value, Container):
        return [_plain(value, inner, root) for _, inner in entries(value)]
    return plain_value(value)


def _plain_key(key: Any) -> Any:
    return getattr(key, "name", key)


def plain_value(value: Any) -> Any:
    """Return a value or node as YAML can hold it: enums by name, paths as text, containers plain, all else as it is."""
    if isinstance(value, Node) and not isinstance(value, Container):
        value = raw(value)
    if OmegaConf.is_config(value):
        return plain_value(OmegaConf.to_container(value, resolve=True))
    if isinstance(value, dict):
        return {_plain_key(key): plain_value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(inner) for inner in value]
    if isinstance(value, Enum):
        return value.name
    return str(value) if isinstance(value, PurePath) else value


def is_plain(value: Any) -> bool:
    """Whether YAML can hold a value unchanged."""
    if isinstance(value, dict):
        return all(is_plain(key) and is_plain(inner) for key, inner in value.items())
    return all(map(is_plain, value)) if isinstance(value, list) else value is None or type(value) in _PLAIN


def _interpolated(text: str, container: Container, root: DictConfig) -> Any:
    """Replace resolver calls in a text that are recorded by value; a text that is one call keeps the value's type."""
    for span in spans(text):
        if not _called(span, root):
            continue
        try:
            value = plain_value(resolved_text(span, container))
        except OmegaConfBaseException:
            continue  # ${hydra:…} outside Hydra: its text is all there is
        if span != text:
            text = text.replace(span, str(value).replace("${", "\\${"))
        elif is_plain(value):
            return value.replace("${", "\\${") if isinstance(value, str) else value
    return text


def _called(span: str, root: DictConfig) -> set[str]:
    """Return the resolvers of a call that is recorded by value; empty for calls that stay text."""
    match = _RESOLVER.match(span)
    if match is None:
        return set()
    name, arguments = match.groups()
    names = {str(name)}
    for inner in spans(arguments):
        called = _called(inner, root)
        if not called:
            return set()
        names |= called
        arguments = arguments.replace(inner, "")
    if name in _MOMENT:
        return names
    return set() if name in _ALWAYS_TEXT or any(_is_key(word, root) for word in _words(arguments)) else names


def _words(arguments: str) -> list[str]:
    return [word.strip().strip("'\"") for word in re.split(r"[,:\[\]{}]", arguments)]


def _is_key(word: str, root: DictConfig) -> bool:
    """Whether a word in a call names a key of the config, also one behind a reference or in a list."""
    if not word or word.startswith("."):
        return bool(word) and not _NUMBER.fullmatch(word)
    node: Any = root
    for part in word.split("."):
        if node is None:
            return False
        if text_of(node) is not None or (isinstance(node, Container) and not isinstance(node, DictConfig)):
            return True
        node = child(node, part) if isinstance(node, DictConfig) else None
    return node is not None


def spans(text: str) -> list[str]:
    r"""Return the outermost `${…}` of a text; an escaped `\${` begins none."""
    spans, start, depth, at = [], 0, 0, 0
    while at < len(text):
        if text.startswith("\\", at):
            at += 1
        elif text.startswith("${", at) or (depth and text[at] == "{"):
            start = at if depth == 0 else start
            at += text.startswith("${", at)
            depth += 1
        elif depth and text[at] == "}":
            depth -= 1
            if depth == 0:
                spans.append(text[start : at + 1])
        at += 1
    return spans
