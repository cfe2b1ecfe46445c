"""Which options a composition takes over from the runs that it starts from."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException

from trainctl.config.keys import split
from trainctl.config.loaded import GROUP, SCHEME, UNKNOWN_GROUP, Loaded
from trainctl.config.overrides import parse_override, quoted
from trainctl.rundir.provenance import original_cwd
from trainctl.sources.kinds import is_source, not_a_source

_GROUPS = (GROUP, UNKNOWN_GROUP)
_MOST_ROUNDS = 10  # options that choose options that choose options

Make = Callable[[Any, Iterable[Override], bool], Any]


class DefaultsListing:
    """One defaults list in the making.

    Args:
        make: makes Hydra's defaults list from a repository, overrides, and whether missing choices may be missing.
        repo: where configs are looked for.
        overrides: of the command line.
        skip_missing: as Hydra was asked.

    Attributes:
        given: the keys and groups of the command line's overrides.
        settled: the keys, in parts, that it adds or takes away.
    """

    def __init__(self, make: Make, repo: Any, overrides: list[Override], skip_missing: bool) -> None:
        self._make, self._skip_missing = make, skip_missing
        self._overrides = overrides
        self.given = frozenset(each.get_key_element().lstrip("+~") for each in overrides)
        self.settled = frozenset(
            tuple(split(each.key_or_group.replace("/", ".")))
            for each in overrides
            if each.is_delete() or (each.is_add() and not isinstance(each.value(), dict | list))
        )
        self._repo = self._without_other_meanings(repo)

    def with_choices(self, loaded_of: Callable[[Any], list[Loaded]]) -> Any:
        """Return the list; of each group that is in it, with the option of the last source that knows the group.

        An option that no longer exists is not taken; its values are, as far as the config has their keys.
        """
        has_source = GROUP in {each.key_or_group for each in self._overrides if not each.is_sweep_override()}
        made = self._make(self._repo, self._overrides, self._skip_missing or has_source)
        loaded = loaded_of(made.defaults)
        taken: dict[str, Override] = {}
        for _ in range(_MOST_ROUNDS if loaded else 0):
            more = self._choices(made.overrides.known_choices, loaded, self.given | taken.keys())
            if not more:
                break
            taken |= more
            made = self._make(self._repo, [*self._overrides, *taken.values()], True)
        if has_source and not self._skip_missing:
            made = self._make(self._repo, [*self._overrides, *taken.values()], False)
        return made

    def _choices(
        self, known: dict[str, str | None], loaded: Iterable[Loaded], given: Collection[str]
    ) -> dict[str, Override]:
        wanted: dict[str, str | None] = {}
        for each in loaded:
            wanted |= each.choices
        return {
            group: parse_override(f"~{group}" if option is None else f"{group}={quoted(option)}")
            for group, option in wanted.items()
            if group in known and known[group] != option and group not in given and group not in _GROUPS
            if option is None or self._repo.config_exists(f"{group.partition('@')[0]}/{option}")
        }

    def _without_other_meanings(self, repo: Any) -> Any:
        """Return the repository without trainctl's groups where an override means the app's own key of that name."""
        asked = [each for each in self._overrides if each.key_or_group in _GROUPS and not each.is_sweep_override()]
        if not _has_group(repo, GROUP):
            _check(asked)
        others = [each for each in self._overrides if each.key_or_group not in _GROUPS]
        hidden = set()
        for each in asked:
            if each.is_add():
                is_meant = True
            else:
                group = each.get_key_element().lstrip("~")
                is_meant = group in self._make(repo, others, True).overrides.known_choices
            if not is_meant:
                hidden.add(each.key_or_group)
        if not hidden:
            return repo
        twin = copy.copy(repo)
        twin.group_exists = lambda config_path: (
            _has_group(repo, config_path) if config_path in hidden else repo.group_exists(config_path)
        )
        return twin


def _has_group(repo: Any, name: str) -> bool:
    """Whether the app itself has a config group of this name."""
    return any(source.is_group(name) for source in repo.get_sources() if source.scheme() != SCHEME)


def _check(asked: Iterable[Override]) -> None:
    """Refuse a `+from=` that names no source, and `++from=` where one is named: neither is to become a key.

    Raises:
        ConfigCompositionException: with one sentence, which Hydra prints without a traceback.
    """
    for each in asked:
        if each.key_or_group != GROUP:
            continue
        text = each.value()
        if each.is_force_add() and isinstance(text, str) and is_source(text):
            raise ConfigCompositionException(f"++{GROUP}={text} would set a key; +{GROUP}={text} loads the source")
        for one in (text if isinstance(text, list) else [text]) if each.is_add() else ():
            if not (isinstance(one, str) and is_source(one)):
                raise ConfigCompositionException(not_a_source(one))


def runs_with_copies(overrides: Iterable[Override]) -> tuple[Path, ...]:
    """Return the run dirs whose copies stand in for their sources: the one that goes on, then the one replayed."""
    plain = [each for each in overrides if not each.is_sweep_override() and not each.is_delete()]
    given = {each.key_or_group: each.value() for each in plain}
    named = [given.get(key) for key in ("hydra.run.dir", "trainctl.replay")]
    paths = [original_cwd() / Path(each).expanduser() for each in named if isinstance(each, str)]
    return tuple(path for path in paths if path.is_dir())
