"""Values drawn by a resolver (`${uuid:}`, `${random:}`): they change with each access, so they identify no job."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from omegaconf import Container, DictConfig, OmegaConf

from trainctl.config._omegaconf import Leaf, child, resolved, text_of, unlocked, walk
from trainctl.config.identity import ENVIRONMENT, OF_THE_MOMENT
from trainctl.config.keys import dotted
from trainctl.config.masking import Masking
from trainctl.config.settings_node import NODE
from trainctl.config.snapshot import is_plain
from trainctl.config.values import literal

_CALLED = re.compile(r"\$\{\s*([A-Za-z_][\w.]*)\s*:")
_WORD = re.compile(r"\w+")
_REFERS = re.compile(r"\$\{\s*[^\s:{}]+\s*\}")
_LOOKS = 8  # a coin that falls the same way again and again is taken for a constant
_PATIENCE_S, _LONGEST_S = 0.005, 0.05  # for the looks at a resolver: of this thread's own time, and by the clock
NOT_KEPT = object()
_NONE = object()


@dataclass(frozen=True, slots=True)
class Drawn:
    """A value that was drawn for a key.

    Attributes:
        text: the text of the interpolation.
        value: the value that the key keeps; `NOT_KEPT` where YAML cannot hold it, the key's type forbids it, or it may
            be a secret.
        leaves: the places of the key; trainctl's settings may be both in the config and in Hydra's node.
    """

    text: str
    value: Any
    leaves: tuple[Leaf, ...]

    def put_back(self, earlier: Any) -> Drawn:
        """Give the key a value that was drawn earlier; one that does not fit is ignored."""
        if self.value is NOT_KEPT or not all(_set(leaf, earlier) for leaf in self.leaves):
            return self
        return replace(self, value=earlier)


@dataclass(frozen=True, slots=True)
class Draws:
    """The values that resolvers have drawn for the keys of a config, by dotted key."""

    found: dict[str, Drawn] = field(default_factory=dict)

    @property
    def texts(self) -> dict[str, str]:
        """The interpolations that have drawn, by dotted key."""
        return {key: each.text for key, each in self.found.items()}

    def put_back(self, earlier: Mapping[Any, Any]) -> None:
        """Give the keys the values drawn by an earlier attempt; keys that are no longer drawn keep their value."""
        self.found.update({key: each.put_back(earlier[key]) for key, each in self.found.items() if key in earlier})

    def facts(self) -> dict[str, Any]:
        """Return their entry for `run.yaml`."""
        values = {key: each.value for key, each in self.found.items() if each.value is not NOT_KEPT}
        return {"drawn": values} if values else {}


def draw(config: DictConfig, hidden: Sequence[str] = ()) -> Draws:
    """Replace each drawn interpolation by its value, in place.

    References to such a key still follow it. A value counts as drawn if a second look finds another one, even where the
    resolver's answers are cached (`use_cache=True`). An interpolation that may be a secret (a token for an hour) stays
    as it is written, and so does one whose key matches `hidden`.
    """
    found: dict[str, Drawn] = {}
    masking = Masking({}, hidden)
    leaves = list(_candidates(config))
    leaves.sort(key=lambda leaf: _REFERS.search(text_of(leaf.node) or "") is not None)  # others may refer to the first
    for leaf in leaves:
        key, text = dotted(leaf.path), str(text_of(leaf.node))
        if (known := found.get(key)) is not None:
            _set(leaf, known.value)
            found[key] = replace(known, leaves=(*known.leaves, leaf))
            continue
        value = _drawn_value(config, leaf)
        if value is _NONE:
            continue
        is_secret = any(map(masking.hides, (key, *_WORD.findall(text))))
        found[key] = Drawn(text, value if not is_secret and _set(leaf, value) else NOT_KEPT, (leaf,))
    return Draws(found)


def drawn_texts(config: DictConfig) -> dict[str, str]:
    """Return the interpolations that draw a value, by dotted key; the config is left as it is."""
    found: dict[str, str] = {}
    for leaf in _candidates(config):
        if _drawn_value(config, leaf) is not _NONE:
            found[dotted(leaf.path)] = str(text_of(leaf.node))
    return found


def _candidates(config: DictConfig) -> Iterator[Leaf]:
    """Yield the leaves that call a resolver which might draw: not one of OmegaConf's, Hydra's, or this package's."""
    for container, skip, above in _places(config):
        for leaf in walk(container, skip=skip, above=above):
            text = text_of(leaf.node)
            if text is None or OF_THE_MOMENT.search(text):
                continue
            if any(not name.startswith("oc.") for name in _CALLED.findall(text)):
                yield leaf


def _places(config: DictConfig) -> Iterator[tuple[Container, Sequence[str], tuple[str, ...]]]:
    """Yield the parts of a config that tell jobs apart: the task's config, its settings, its environment."""
    yield config, ("hydra",), ()
    for path, above in ((("hydra", NODE), (NODE,)), (ENVIRONMENT, ENVIRONMENT)):
        node: Any = config
        for name in path:
            node = child(node, name) if isinstance(node, DictConfig) else None
        if isinstance(node, DictConfig):
            yield node, (), above


def _drawn_value(config: DictConfig, leaf: Leaf) -> Any:
    """Return the value of a leaf if another look finds another value, else `_NONE`."""
    first = _look(leaf)
    if first is _NONE:
        return _NONE
    before, began, used = OmegaConf.get_cache(config), time.monotonic(), time.thread_time()
    try:
        for number in range(_LOOKS):
            if number and (time.thread_time() - used > _PATIENCE_S or time.monotonic() - began > _LONGEST_S):
                break
            OmegaConf.set_cache(config, defaultdict(dict))
            again = _look(leaf)
            if again is not _NONE and repr(again) != repr(first):
                return first
    finally:
        OmegaConf.set_cache(config, before)
    return _NONE


def _look(leaf: Leaf) -> Any:
    try:
        value = resolved(leaf.container, leaf.path[-1], leaf.node)
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    except Exception:  # noqa: BLE001  # a resolver is the user's code; what it raises is seen where the key is read
        return _NONE


def _set(leaf: Leaf, value: Any) -> bool:
    """Give a key a plain value instead of its interpolation; return whether its type allows that."""
    container: Any = leaf.container
    if not is_plain(value):
        return False
    try:
        with unlocked(container):
            container[leaf.path[-1]] = literal(value)
    except Exception:  # noqa: BLE001  # a value recorded at another time may not fit any more
        return False
    return True
