"""Following a composition of Hydra's step by step: which config and which override set each value."""

from __future__ import annotations

import contextlib
import copy
import os
import shlex
from collections.abc import Collection, Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainctl.compose import _hydra
from trainctl.config._omegaconf import MISSING, is_open
from trainctl.config.adopt import adopt
from trainctl.config.assign import assign
from trainctl.config.given import is_choice, keys_given
from trainctl.config.keys import leaves, split
from trainctl.config.loaded import GROUP, UNKNOWN_GROUP, Loaded, comments_of, kept_copies, values_of
from trainctl.config.overrides import hydra_overrides, quoted, task_overrides
from trainctl.config.values import is_same
from trainctl.errors import EditError, SourceError
from trainctl.explain.origin import History, Source
from trainctl.rundir.provenance import relative_to

_ABSENT = object()
_FROM = (GROUP, UNKNOWN_GROUP)  # these come after all files, and are not read again here


class TraceError(Exception):
    """The composition cannot be followed, for the reason given."""


def comments(hydra: DictConfig) -> dict[str, str]:
    """Return what the sources of a config (`+from=`) say of its keys, by dotted key."""
    return comments_of(kept_copies(hydra))


def trace(loader: Any, hydra: DictConfig, final: Mapping[str, Any]) -> History:
    """Compose a config again, as Hydra's loader does, and note what sets each value; Hydra's own node is left out.

    Args:
        loader: Hydra's own.
        hydra: Hydra's node of the config: its name, overrides, choices, and what `+from=` has loaded.
        final: the values of the config in the end, by dotted key.

    Raises:
        TraceError: a config cannot be found or read.
    """
    if not _hydra.IS_KNOWN:
        raise TraceError(_hydra.unknown())
    history, config = History(), OmegaConf.create()
    lines = [*hydra_overrides(hydra), *task_overrides(hydra)]
    copies = kept_copies(hydra)
    try:
        parsed = OverridesParser.create().parse_overrides(lines)
        kept = [each for each in parsed if not copies or each.key_or_group not in _FROM]
        name = hydra.job.config_name
        repo = _hydra.repository_of(loader, name, [str(each.input_line) for each in kept])
        defaults, choosers = _defaults_list(repo, name, kept, hydra)
        for entry in defaults.defaults:
            found = _hydra.load_entry(loader, entry, repo)
            config.merge_with(found.config)
            history.note(_leaves(config), _leaves(found.config), _file(entry, found, choosers))
    except (HydraException, OmegaConfBaseException, OSError, ValueError, AttributeError, TypeError) as error:
        # the last two: another Hydra may do these steps in another way
        raise TraceError(" ".join(str(error).split())) from error
    overridden = {key for each in defaults.config_overrides if not each.is_delete() for key in keys_given(each)}
    does_add = any(each.key_or_group == UNKNOWN_GROUP and each.value() == "add" for each in parsed)
    for each in copies:
        config = _with_loaded(config, history, each, final, overridden, does_add=does_add)
    OmegaConf.set_struct(config, True)
    for override in defaults.config_overrides:
        _override(config, history, override)
    return history


def _defaults_list(repo: Any, name: str | None, given: list[Override], hydra: DictConfig) -> tuple[Any, dict[str, str]]:
    """Return the defaults list with the options that the run had, and what chose an option, by the option's path."""

    def make(overrides: list[Override]) -> Any:
        return _hydra.create_defaults_list(
            repo=repo, config_name=name, overrides_list=overrides, prepend_hydra=True, skip_missing=True
        )

    choosers = {each.get_key_element().lstrip("+"): f"{each.input_line} on the command line" for each in given}
    made = make(given)
    known = made.overrides.known_choices
    had: Any = OmegaConf.to_container(hydra.runtime.choices, resolve=False, throw_on_missing=False)
    taken = {
        str(group): f"{group}={quoted(str(option))}"
        for group, option in had.items()
        if known.get(group, option) != option and option not in (None, "???") and not str(group).startswith("hydra/")
    }
    if taken:  # an earlier run chooses options, too
        made = make([*given, *OverridesParser.create().parse_overrides(list(taken.values()))])
        choosers |= {group: f"{line} by +from" for group, line in taken.items()}
    return made, {
        f"{str(group).partition('@')[0]}/{option}": choosers.get(str(group), f"{group}={option} in ")
        for group, option in made.overrides.known_choices.items()
    }


def note_overrides(history: History, overrides: Sequence[str], final: Mapping[str, Any]) -> None:
    """Note what the command line has set of a config whose files are not there."""
    config = OmegaConf.create({})
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if "/" in override.key_or_group or is_choice(override, config) or override.is_hydra_override():
            continue
        given = [key for key in keys_given(override) if key in final]
        history.set({key: final[key] for key in given}, Source("command line", str(override.input_line)))


def asking(hydra: DictConfig, known: Mapping[str, Any]) -> str:
    """Say how to ask a run's program, which alone knows the configs that it stores itself.

    Args:
        hydra: Hydra's node of its config.
        known: the run's `run.yaml`, if it has one.
    """
    script, module = known.get("script"), known.get("module")
    program = str(module) if module else relative_to(Path(str(script)), Path.cwd()) if script else "PROGRAM"
    command = shlex.join(["trainctl", "explain", "--app", program, *task_overrides(hydra)])
    return f"; the program, which may store configs itself, is not run for this: ask it by `{command}`"


def note_loaded(history: History, hydra: DictConfig, final: Mapping[str, Any]) -> None:
    """Note what `+from=` has set of a config whose files are not there: values that the command line may replace."""
    for each in kept_copies(hydra):
        values = {_named(key, final): value for key, value in values_of(each).items()}
        history.set({key: value for key, value in values.items() if key in final}, _loaded_from(each))


def _override(config: DictConfig, history: History, override: Override) -> None:
    source = Source("command line", str(override.input_line))
    try:
        _hydra.apply_overrides([override], config)
    except HydraException:
        return  # the files have changed since: the value that was recorded will say so
    given = [] if override.is_delete() else keys_given(override)
    history.note(_leaves(config), given, source)


def _with_loaded(
    config: DictConfig,
    history: History,
    record: Mapping[str, Any],
    final: Mapping[str, Any],
    overridden: Collection[str],
    *,
    does_add: bool,
) -> DictConfig:
    """Return the config with the values of a copy, as the composition has adopted them, and note these.

    A value that differs in the end was not taken, unless the command line has replaced it: the option that it belongs
    to was chosen otherwise, or the files have changed since.
    """
    trial = copy.deepcopy(config)
    try:
        loaded = Loaded.from_dict(record)
        target: Any = OmegaConf.select(trial, loaded.at) if loaded.at else trial
        adopt(target, loaded, "add" if does_add else "drop", above=tuple(split(loaded.at)) if loaded.at else ())
    except (SourceError, OmegaConfBaseException, TypeError, AttributeError):
        return config  # the files have changed since
    before, now = _leaves(config), _leaves(trial)
    given = {_named(key, now) for key in values_of(record)}
    taken = [key for key in given if key in now and (key in overridden or is_same(now[key], final.get(key, _ABSENT)))]
    history.set({key: now[key] for key in now if key in taken}, _loaded_from(record))
    for key in given - set(taken):
        with contextlib.suppress(EditError):
            assign(trial, {key: before.get(key, MISSING)}, base=before)
    return trial


def _named(key: str, known: Container[str]) -> str:
    """Return the name of a loaded key in the config, which may have underscores where the source has dashes."""
    return key if key in known else key.replace("-", "_")


def _loaded_from(record: Mapping[str, Any]) -> Source:
    at = f"@{record['at']}" if record.get("at") else ""
    return Source("from", f"+from{at}={record['source']} ({record['origin']})")


def _file(entry: Any, found: Any, choosers: Mapping[str, str]) -> Source:
    """Name a config of the defaults list, and who chose it."""
    path = str(found.path)
    where = entry.config_path
    if path.startswith("file://"):
        where = relative_to(Path(path.removeprefix("file://"), _with_suffix(entry.config_path)), Path.cwd())
    else:
        where = f"{where} of {'the ConfigStore' if found.provider in (None, 'schema') else found.provider}"
    chosen = choosers.get(str(entry.config_path))
    if entry.primary:
        return Source("file", where)
    if chosen is None:
        return Source("file", f"{where} (in the defaults of {entry.parent})")
    return Source("file", f"{where} ({chosen}{entry.parent if chosen.endswith(' in ') else ''})")


def _with_suffix(path: str) -> str:
    return path if os.path.splitext(path)[1] in (".yaml", ".yml") else f"{path}.yaml"


def _leaves(config: Any) -> dict[str, Any]:
    if not isinstance(config, DictConfig) or not is_open(config):
        return {}
    own: Any = OmegaConf.to_container(config, resolve=False, enum_to_str=True, throw_on_missing=False)
    return leaves({key: value for key, value in own.items() if key not in ("hydra", "defaults")})
