"""Explaining where the values of a run come from: by its record and the present config files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trainctl.compose import _hydra
from trainctl.config._omegaconf import child
from trainctl.config.keys import leaves
from trainctl.config.overrides import task_overrides
from trainctl.config.pairs import PAIR_NODE
from trainctl.config.settings_node import NODE, secrets_in
from trainctl.errors import RunDirError
from trainctl.explain.origin import Explanation, History, Source, check_key, rows, said_of_edit
from trainctl.explain.trace import TraceError, asking, comments, note_loaded, note_overrides, trace
from trainctl.rundir import files
from trainctl.rundir.edits import applied_edits, read_changelog
from trainctl.rundir.events import read_events
from trainctl.rundir.masked import masking_of
from trainctl.rundir.paths import RunDir
from trainctl.text import clean

# Sources that are read without running the code of the run's author.
_HARMLESS = ("file", "structured")
_OF_HYDRA = "pkg://hydra.conf"
_HYDRA = ".hydra/hydra.yaml"


def explain_config(config: DictConfig, loader: Any) -> Explanation:
    """Explain a config that Hydra has composed in this process, secrets masked.

    Args:
        config: with Hydra's node.
        loader: that composed it.
    """
    hydra = config.hydra
    own: Any = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    final = leaves({key: value for key, value in own.items() if key != "hydra"})
    return _explain(final, hydra, loader, "(not by Hydra)").masked(secrets_in(config))


def written(explanation: Explanation, key: str | None) -> str:
    """Write an explanation of a key and all below it, of all keys for None, as lines of text.

    Raises:
        SettingError: the config has no such key.
    """
    check_key(explanation.history, key)
    lines = []
    for each, value, source, replaced in rows(explanation.history, key):
        lines += [f"{each}: {value}", f"    {source}", *([f"    instead of {replaced}"] if replaced else [])]
        lines += [f"    # {explanation.help[each]}"] if each in explanation.help else []
    return "".join(f"{clean(line)}\n" for line in [*lines, *explanation.unknown])


def explain_run(run: RunDir) -> Explanation:
    """Explain the config of a run up to its last edit, secrets masked. Nothing of the run's program is imported.

    Raises:
        RunDirError: it has recorded no config, or what it has is not a config.
        ChangelogError: its changelog is not one.
    """
    problems: list[str] = []
    hydra = _hydra_of(run, problems)
    recorded = files.read_mapping(run.config, problems)
    log = read_changelog(run)
    if not recorded and log is None:
        why = f" ({'; '.join(problems)})" if problems else ""
        raise RunDirError(f"{str(run.path)!r} has no config: neither .hydra/config.yaml nor changelog.yaml{why}")
    final = leaves(recorded or (log.base if log else {}))
    if hydra is None:
        why = ".hydra/hydra.yaml does not say" if os.path.lexists(run.path / _HYDRA) else f"there is no {_HYDRA}"
        explanation = Explanation(History(), [f"what set the values at the start is unknown: {why}"])
        explanation.history.settle(final, Source("unknown", "(not recorded)"))
    else:
        try:
            base = hydra.runtime.version_base
            with _hydra.as_of(None if base is None else str(base)):
                explanation = _explain(
                    final,
                    hydra,
                    _loader(hydra),
                    "(the config files have changed since)",
                    asking(hydra, files.read_mapping(run.run, [])),
                )
        except (OmegaConfBaseException, AttributeError, LookupError, TypeError, ValueError) as error:
            raise _not_hydras(run, error) from error
    explanation.unknown.extend(problems)
    for edit in applied_edits(log, read_events(run)) if log is not None else ():
        explanation.history.set(edit.values, Source("edit", said_of_edit(edit.step, edit.who, edit.via, edit.note)))
    return explanation.masked(masking_of(run, log))


def _explain(final: Mapping[str, Any], hydra: DictConfig, loader: Any, otherwise: str, hint: str = "") -> Explanation:
    unknown: list[str] = []
    settings = child(hydra, NODE)
    if settings is not None:
        own: Any = OmegaConf.to_container(settings, resolve=False, enum_to_str=True)
        final = {**final, **leaves({NODE: own})}
    try:
        history = trace(loader, hydra, final)
    except TraceError as error:
        history = History()
        why = str(error).partition(" Config search path:")[0].rstrip(".")
        unknown.append(
            f"which config file set a value is unknown, because they cannot be read as they were: {why}{hint}"
        )
        note_loaded(history, hydra, final)
        note_overrides(history, task_overrides(hydra), final)
    pair = hydra.runtime.get(PAIR_NODE)
    if pair is not None:
        values = {key: final[key] for key in pair["keys"] if key in final}
        history.set(values, Source("pair", str(pair["pair"])))
    history.settle(final, Source("unknown", "(see below)" if unknown else otherwise))
    return Explanation(history, unknown, comments(hydra))


def _hydra_of(run: RunDir, problems: list[str]) -> DictConfig | None:
    try:
        node = OmegaConf.create(files.read_mapping(run.path / _HYDRA, problems)).get("hydra")
    except (OmegaConfBaseException, ValueError) as error:
        raise _not_hydras(run, error) from error
    return node if isinstance(node, DictConfig) else None


def _not_hydras(run: RunDir, error: Exception) -> RunDirError:
    return RunDirError(f"{run.path / _HYDRA} is not what Hydra writes: {' '.join(str(error).split())[:300]}")


def _loader(hydra: DictConfig) -> Any:
    """Return a loader of the search path that a run has recorded; None where such a one cannot be made.

    Of the packages in it only those are read that Hydra's plugins installed here add for every program.
    """
    if not _hydra.is_known():
        return None
    Plugins.instance()  # knows how to read each kind of source
    sources: Any = OmegaConf.to_container(hydra.runtime.config_sources, resolve=False)
    recorded = [(str(each["provider"]), each["schema"], f"{each['schema']}://{each['path']}") for each in sources]
    harmless = [(provider, path) for provider, scheme, path in recorded if scheme in _HARMLESS or path == _OF_HYDRA]
    added = _hydra.added_by_plugins(harmless)
    return _hydra.loader_of(
        (provider, path) for provider, _, path in recorded if (provider, path) in harmless or path in added
    )
