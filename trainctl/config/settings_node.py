"""The node of a run's settings: `trainctl` while Hydra composes a config, then `hydra.trainctl`.

So the task gets the user's own config. Keys of the node that something refers to stay in that config too.
"""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from trainctl.config import keys
from trainctl.config._omegaconf import child, declared_type, entries, is_open, plain, text_of, unlocked, walk
from trainctl.config.masking import Masking
from trainctl.config.snapshot import spans
from trainctl.config.values import literal

NODE = "trainctl"

_HANDED_DOWN = "TRAINCTL_SETTINGS"
_MOST_HANDED_DOWN = 64 * 1024  # Linux takes 128 KiB in one variable, and starts no program at all beyond that

# `trainctl` as the first word of a reference or of an argument, and the keys that follow it
_REFERENCE = re.compile(r"""(?<![\w.\]/%-])\.*trainctl(?![\w:/-])(?P<keys>(?:\.\w+|\[\s*['"]?\w+['"]?\s*\])*)""")


def move_settings(config: DictConfig) -> None:
    """Move the node `trainctl` of a composed config into its `hydra` node, where Hydra takes it from the task's config.

    Keys that an interpolation refers to stay in the config too, so `seed: ${trainctl.seed}` still works. If a
    structured config has a field of that name, settings that differ from the defaults stay there as well. A second call
    changes nothing.

    >>> config = OmegaConf.create({"lr": "${trainctl.seed}", "trainctl": {"seed": 3, "poll_s": 1}, "hydra": {}})
    >>> move_settings(config)
    >>> config
    {'lr': '${trainctl.seed}', 'hydra': {'trainctl': {'seed': 3, 'poll_s': 1}}, 'trainctl': {'seed': 3}}
    """
    node, hydra = child(config, NODE), child(config, "hydra")
    if not isinstance(node, DictConfig) or not isinstance(hydra, DictConfig) or child(hydra, NODE) is not None:
        return
    referred = list(_referred(config))
    with unlocked(config), unlocked(hydra):
        hydra[NODE] = node
        if not all(referred):
            return
        left = _part(node, referred) if is_open(node) else {}
        if not _is_declared(config):
            del config[NODE]
        elif declared_type(node) is Any and is_open(node):
            left = merged(_given(node), left)
        else:
            return
        if left or _is_declared(config):
            config[NODE] = left


def without_defaults(config: DictConfig) -> DictConfig:
    """Return a composed config as it is printed: Hydra's node has only those settings that were given."""
    shown = copy.deepcopy(config)
    hydra = child(shown, "hydra")
    node = child(hydra, NODE) if isinstance(hydra, DictConfig) else None
    if isinstance(hydra, DictConfig) and isinstance(node, DictConfig) and is_open(node):
        with unlocked(hydra):
            given = _given(node)
            del hydra[NODE]
            if given:
                hydra[NODE] = given
    return shown


def changed(values: Mapping[Any, Any], defaults: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the values that differ from the defaults, nested as they are.

    >>> changed({"seed": 3, "panel": {"port": 0, "open": True}}, {"seed": None, "panel": {"port": 0, "open": False}})
    {'seed': 3, 'panel': {'open': True}}
    """
    found: dict[Any, Any] = {}
    for key, value in values.items():
        default = defaults.get(key)
        if isinstance(value, dict) and isinstance(default, dict) and default:
            below = changed(value, default)
            found |= {key: below} if below else {}
        elif key not in defaults or value != default:
            found[key] = value
    return found


def _given(node: DictConfig) -> dict[Any, Any]:
    """Return what differs in the settings from the defaults of their schema."""
    kind = OmegaConf.get_type(node)
    defaults: Any = OmegaConf.to_container(OmegaConf.structured(kind)) if is_dataclass(kind) else {}
    return changed(plain(node), defaults)


def put_back(config: DictConfig) -> None:
    """Undo `move_settings`, before further overrides are applied."""
    hydra = child(config, "hydra")
    node = child(hydra, NODE) if isinstance(hydra, DictConfig) else None
    if not isinstance(hydra, DictConfig) or node is None:
        return
    with unlocked(config), unlocked(hydra):
        if child(config, NODE) is not None:
            del config[NODE]
        config[NODE] = node
        del hydra[NODE]


def leave_out_of_dirname(config: DictConfig, overridden: Iterable[str]) -> None:
    """Leave trainctl's settings out of `hydra.job.override_dirname`, as Hydra leaves out its own.

    Args:
        config: with Hydra's node.
        overridden: all keys that the command line sets.
    """
    own = [key for key in overridden if keys.is_within(key, (NODE,))]
    if not own:
        return
    options = config.hydra.job.config.override_dirname
    with unlocked(options):
        options.exclude_keys = list(dict.fromkeys([*options.exclude_keys, *own]))


def kept_node(config: DictConfig) -> DictConfig | None:
    """Return the settings outside a task's config; None if there are none.

    They are in its `hydra` node, else in that of the Hydra application that runs, else in the environment, from the
    process that has started this one.
    """
    hydra = child(config, "hydra")
    if hydra is None:
        hydra = hydra_config()
    if hydra is None:
        return _handed_down()
    node = child(hydra, NODE) if isinstance(hydra, DictConfig) else None
    return hydra.get(NODE) if isinstance(node, DictConfig) else None  # type: ignore[union-attr]


def own_node(config: DictConfig) -> Any:
    """Return the `trainctl` node of the config itself; None if it has none."""
    return None if child(config, NODE) is None else config.get(NODE)


def setting(config: DictConfig, name: str, default: Any = None) -> Any:
    """Return one setting as given; a `trainctl` node in the config itself wins."""
    for node in (own_node(config), kept_node(config)):
        value = OmegaConf.select(node, name) if isinstance(node, DictConfig) else None
        if value is not None:
            return value
    return default


def secrets_in(config: DictConfig) -> Masking:
    """Return the masking of a config's secrets, including resolved ones such as `${oc.env:TOKEN}`."""
    own = {key: plain(node) for key, node in entries(config) if key != "hydra"}
    masking = Masking(own, setting(config, "hidden") or ())
    for key in filter(masking.hides, keys.leaves(own)):
        with suppress(Exception):  # a resolver may raise anything; what has no value is not a secret
            masking.learn(key, OmegaConf.select(config, key))
    return masking


def has_settings(config: DictConfig) -> bool:
    """Whether a config has settings, in it or in its `hydra` node."""
    return own_node(config) is not None or kept_node(config) is not None


def hydra_config() -> Any:
    """Return Hydra's own config when a Hydra application is running, else None; Hydra is never imported for this."""
    module = sys.modules.get("hydra.core.hydra_config")
    if module is None or not module.HydraConfig.initialized():
        return None
    return module.HydraConfig.get()


def merged(below: Mapping[Any, Any], above: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return plain mappings as one; `above` wins.

    >>> merged({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"x": 0}})
    {'a': {'x': 0, 'y': 2}, 'b': 3}
    """
    found = dict(below)
    for key, value in above.items():
        former = found.get(key)
        both = isinstance(former, Mapping) and isinstance(value, Mapping)
        found[key] = merged(former, value) if both else value  # type: ignore[arg-type]
    return found


def hand_down(settings: Mapping[str, Any] | None) -> None:
    """Give settings to the processes that `multiprocessing` starts from now on; None takes them back.

    A rank of `mp.spawn` gets the task's config, without Hydra and what is in its node.
    """
    os.environ.pop(_HANDED_DOWN, None)
    text = json.dumps(settings, default=str) if settings else ""
    if 0 < len(text) <= _MOST_HANDED_DOWN:
        os.environ[_HANDED_DOWN] = text


def _handed_down() -> DictConfig | None:
    text = os.environ.get(_HANDED_DOWN)
    if text is None or multiprocessing.parent_process() is None:
        return None  # another program that the job runs has a run, and settings, of its own
    try:
        given = json.loads(text)
    except ValueError:
        return None
    return OmegaConf.create(literal(given)) if isinstance(given, dict) else None


def _referred(config: DictConfig) -> Iterator[list[str]]:
    """Yield the keys below `trainctl` that interpolations of a config name; no keys for the node as a whole."""
    for leaf in walk(config):
        if leaf.path[:2] == ("hydra", "overrides") or leaf.path == ("hydra", "job", "override_dirname"):
            continue  # the text of a command line; the values that it sets are looked at themselves
        text = text_of(leaf.node)
        for span in spans(text) if text is not None else ():
            for match in _REFERENCE.finditer(span):
                is_whole = span[match.end() :][:1] in (".", "[")  # a key that is an interpolation itself
                yield [] if is_whole else re.findall(r"\w+", match["keys"])


def _part(node: DictConfig, paths: Iterable[list[str]]) -> dict[str, Any]:
    """Return the entries of a node at some paths, unresolved."""
    found: dict[str, Any] = {}
    for path in paths:
        entry: Any = node
        for name in path:
            entry = child(entry, name) if isinstance(entry, DictConfig) else entry
        if entry is not None:
            part = plain(entry)
            for name in reversed(path):
                part = {name: part}
            found = merged(found, part)
    return found


def _is_declared(config: DictConfig) -> bool:
    kind = OmegaConf.get_type(config)
    fields = {*getattr(kind, "__dataclass_fields__", ()), *(each.name for each in getattr(kind, "__attrs_attrs__", ()))}
    return NODE in fields
