"""How sources enter a composition: after all files and the options that these choose, before the command line.

Hydra merges the configs of a defaults list in their order, without asking whether the keys are there. A composition
with a source differs in two steps: the defaults list, because a run that had chosen `norm=new` is to be continued with
the option `new` and what belongs to it; and the merging, for types, unknown keys, and what the command line has chosen.

This module is loaded by the first question about a source, so not by an app that names none. By then Hydra is making
its defaults list; `install` leads the steps that follow through this module, and a composition without a source goes on
to Hydra's own code.
"""

from __future__ import annotations

import contextvars
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf

from trainctl.compose import _hydra
from trainctl.config.adopt import UNKNOWN, adopt
from trainctl.config.keys import leaves, split
from trainctl.config.loaded import GROUP, SCHEME, UNKNOWN_GROUP, Loaded, keep_copies
from trainctl.errors import SourceError
from trainctl.sources import choices
from trainctl.sources.choices import DefaultsListing
from trainctl.sources.files import announce
from trainctl.sources.kinds import FILE_KINDS, is_source, read_source, taking_copies

_is_making: contextvars.ContextVar[bool] = contextvars.ContextVar("is_making", default=False)


class LoadedResult(ConfigResult):
    """The result of loading a source: an empty config for Hydra, and beside it the values to set after merging."""

    loaded: Loaded | None = None


def is_config(config_path: str) -> bool:
    """Whether a path names a source, or a way to treat keys that the config does not have."""
    group, _, name = config_path.partition("/")
    return (group == GROUP and is_source(name)) or (group == UNKNOWN_GROUP and name in UNKNOWN)


def load(config_path: str) -> ConfigResult:
    """Load `from/KIND/PLACE`, or `from_unknown/WORD`.

    Raises:
        ConfigCompositionException: with one sentence, which Hydra prints without a traceback.
    """
    result = LoadedResult("hydra_trainctl", f"{SCHEME}://", OmegaConf.create({}), {"package": "_global_"})
    group, _, name = config_path.partition("/")
    if not _hydra.IS_KNOWN:
        raise ConfigCompositionException(f"{group}={name}: {_hydra.unknown()}")
    if group == GROUP:
        try:
            result.loaded = read_source(name)
        except SourceError as error:
            raise ConfigCompositionException(str(error)) from error
    return result


class _Defaults(list[Any]):
    """The entries of a defaults list; the groups that the command line has chosen, and the keys it has settled."""

    chosen: frozenset[str] = frozenset()
    settled: frozenset[tuple[str, ...]] = frozenset()


def is_made(defaults: Any) -> bool:
    """Whether `create_defaults_list` has made these entries."""
    return isinstance(defaults, _Defaults)


def create_defaults_list(
    repo: Any, config_name: str | None, overrides_list: list[Override], prepend_hydra: bool, skip_missing: bool
) -> Any:
    """Make Hydra's defaults list, with the options that the sources had chosen where the command line has not."""

    def make(repository: Any, overrides: Iterable[Override], skip: bool) -> Any:
        return _hydra.create_defaults_list(
            repo=repository,
            config_name=config_name,
            overrides_list=list(overrides),
            prepend_hydra=prepend_hydra,
            skip_missing=skip,
        )

    listing = DefaultsListing(make, repo, overrides_list, skip_missing)
    with taking_copies(choices.runs_with_copies(overrides_list)):
        made = listing.with_choices(lambda defaults: list(_loaded(defaults, repo)))
    made.defaults = _Defaults(made.defaults)
    made.defaults.chosen, made.defaults.settled = listing.given, listing.settled
    return made


def compose(loader: Any, defaults: list[Any], repo: Any) -> DictConfig:
    """Merge the configs of a defaults list as Hydra does; then set the values of the sources, in their order.

    Raises:
        ConfigCompositionException: a source does not fit the config.
    """
    config = _hydra.merge_defaults(loader, defaults, repo)
    unknown = "error"
    for entry in defaults:
        group, _, word = str(entry.config_path).partition("/")
        unknown = word if group == UNKNOWN_GROUP else unknown
    loaded = list(_loaded(defaults, repo))
    for each in loaded:
        target: Any = OmegaConf.select(config, each.at) if each.at else config
        protected = set(_protected(defaults, repo, each))
        try:
            left_out = adopt(target, each, unknown, protected, tuple(split(each.at)) if each.at else ())
        except SourceError as error:
            raise ConfigCompositionException(str(error)) from error
        for what in left_out:
            announce(f"{each.override}: {what}")
    if "hydra" in config:
        keep_copies(config.hydra, loaded)
    return config


def _loaded(defaults: Iterable[Any], repo: Any) -> Iterator[Loaded]:
    for entry in defaults:
        if str(entry.config_path).startswith(f"{GROUP}/"):
            result = repo.load_config(entry.config_path)
            found = getattr(result, "loaded", None)
            if found is not None:
                yield dataclasses.replace(found, at=entry.package or "")


def _protected(defaults: Any, repo: Any, loaded: Loaded) -> Iterator[tuple[str, ...]]:
    """Yield the keys that a source must not set: those of options that the command line or a later source has chosen.

    Also those that the command line adds or removes. A file sets its keys whatever options are chosen.
    """
    if loaded.source.partition("/")[0] in FILE_KINDS:
        yield from defaults.settled if is_made(defaults) else ()
        return
    chosen = (defaults.chosen if is_made(defaults) else frozenset()) - {GROUP, UNKNOWN_GROUP}
    yield from defaults.settled if is_made(defaults) else ()
    paths = {
        entry.config_path
        for entry in defaults
        if entry.override_key in chosen or _has_other_option(entry, repo, loaded)
    }
    for entry in defaults:
        if entry.config_path not in paths and entry.parent not in paths:
            continue
        paths.add(entry.config_path)
        if entry.package:
            yield tuple(split(entry.package))
        else:
            result = repo.load_config(entry.config_path)
            if result is not None and isinstance(result.config, DictConfig):
                plain: Any = OmegaConf.to_container(result.config, resolve=False)
                yield from (split(key) for key in leaves(plain))


def _has_other_option(entry: Any, repo: Any, loaded: Loaded) -> bool:
    """Whether a group has another option than the source had, though that is still there."""
    option = loaded.choices.get(str(entry.override_key))
    if option is None:
        return False
    path = f"{str(entry.override_key).partition('@')[0]}/{option}"
    return entry.config_path != path and bool(repo.config_exists(path))


def install() -> None:
    """Lead the steps of Hydra that a source needs through this module, in this process."""
    if _hydra.IS_KNOWN:
        _hydra.lead(_list, _finished, _merge)


def is_answered() -> bool:
    """Whether the groups `from` and `from_unknown` are found by anyone who asks.

    Not while Hydra itself reads the command line: `_list` reads it again, and knows when `from=3` is a key of the app.
    """
    return _is_making.get() or not (_hydra.IS_KNOWN and _hydra.is_making_a_list())


def _list(request: _hydra.Request) -> Any:
    """Make a defaults list with the sources, if the command line names one."""
    overrides = () if _is_making.get() else request["overrides_list"]
    return _make(request) if any(each.key_or_group in (GROUP, UNKNOWN_GROUP) for each in overrides) else None


def _finished(request: _hydra.Request, defaults: list[Any]) -> Any:
    """Make a defaults list again, with the sources, if a config file names one."""
    if _is_making.get() or is_made(defaults) or not _has_source(defaults):
        return None
    return _make(request)


def _merge(loader: Any, defaults: list[Any], repo: Any) -> DictConfig:
    return (compose if _has_source(defaults) else _hydra.merge_defaults)(loader, defaults, repo)


def _make(request: _hydra.Request) -> Any:
    token = _is_making.set(True)
    try:
        return create_defaults_list(**request)
    finally:
        _is_making.reset(token)


def _has_source(defaults: Iterable[Any]) -> bool:
    return any(str(entry.config_path).startswith(f"{GROUP}/") for entry in defaults)
