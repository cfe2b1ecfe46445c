"""A run's config at its start and at its end, read so that what thousands of runs have in common is parsed once."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from trainctl.config import changelog
from trainctl.config.keys import leaves
from trainctl.config.settings_node import NODE
from trainctl.config.yaml import read_document
from trainctl.errors import ChangelogError, UnreadableError
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir

_BASE = re.compile(r"\A(?:#[^\n]*\n)*0:[^\n{]*\n((?:  [^\n]*\n|\n)+)#\.\n\Z")
_BLOCK = re.compile(r"^  (?! |- |-$|\?|#|[\"'&*!|>%@`{\[])", re.MULTILINE)
_SETTINGS = re.compile(rf"^  {NODE}:\n((?:    [^\n]*\n)*)", re.MULTILINE)
_CHOICES = re.compile(r"^    choices:\n((?:      [^\n]*\n)*)", re.MULTILINE)


def configs_of(run: RunDir) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Return the leaves of the config at the start, those that edits had changed at the end, and the number of edits.

    Without a changelog Hydra's own record is the config; without that it is empty.

    Raises:
        ChangelogError: the changelog is not one. UnreadableError: it, or where there is none Hydra's record, cannot be
            read.
    """
    try:
        text = files.read_bytes(run.changelog, files.MOST_CHANGELOG).decode(errors="replace")
    except FileNotFoundError:
        return _hydra_config(run), {}, 0
    base = base_of(text)
    if base is not None:
        return base, {}, 0
    log = changelog.loads(text.encode(), run.changelog.name)
    start, end = leaves(log.base), leaves(log.at(log.last_step))
    changed = {key for edit in log.edits for key in edit.values}
    below = tuple(f"{key}." for key in changed)
    return start, {key: value for key, value in end.items() if key in changed or key.startswith(below)}, len(log.edits)


def base_of(text: str) -> dict[str, Any] | None:
    r"""Read a changelog without edits, entry by entry; None when it is not as we write one.

    >>> base_of("0:\n  optim: {lr: 0.1}\n  seed: 1\n#.\n")
    {'optim.lr': 0.1, 'seed': 1}
    """
    match = _BASE.match(text)
    if match is None:
        return None
    body = match[1]
    starts = [found.start() for found in _BLOCK.finditer(body)]
    if not starts or starts[0] != 0:
        return None
    found: dict[str, Any] = {}
    for start, end in zip(starts, [*starts[1:], len(body)], strict=True):
        entry = _entry(body[start:end])
        if entry is None or entry[0] in found:
            return None
        found[entry[0]] = entry[1]
    return {key: value for values in found.values() for key, value in values.items()}


@lru_cache(maxsize=4096)
def _entry(text: str) -> tuple[Any, dict[str, Any]] | None:
    try:
        entry = read_document(text, ValueError)
    except ValueError:  # the whole file is read then, for its error
        return None
    if not isinstance(entry, dict) or len(entry) != 1:
        return None
    return next(iter(entry)), leaves(entry)


def _hydra_config(run: RunDir) -> dict[str, Any]:
    try:
        config = _whole(files.read_bytes(run.config).decode(errors="replace"))
    except FileNotFoundError:
        return {}
    except UnreadableError as error:
        raise ChangelogError(str(error)) from error
    except ValueError as error:
        raise ChangelogError(f"{run.config}: {error}") from error
    return {**leaves(config), **_settings(run)} if isinstance(config, dict) else {}


def _settings(run: RunDir) -> dict[str, Any]:
    """Return the settings of trainctl that a run had, which Hydra's record has apart from the task's config."""
    try:
        text = files.read_bytes(run.config.parent / "hydra.yaml").decode(errors="replace")
        match = _SETTINGS.search(text)
        settings = _whole(match[1]) if match else None
    except (OSError, ValueError):
        return {}
    return leaves({NODE: settings}) if isinstance(settings, dict) else {}


@lru_cache(maxsize=64)
def _whole(text: str) -> Any:
    """Read a document of Hydra's; raise ValueError."""
    return read_document(text, ValueError)


def choices_of(run: RunDir) -> dict[str, Any]:
    """Return which option of each config group the run took; Hydra's own groups left out."""
    try:
        text = files.read_bytes(run.config.parent / "hydra.yaml").decode(errors="replace")
        match = _CHOICES.search(text)
        choices = _whole(match[1]) if match else None
    except (OSError, ValueError):
        return {}
    found = choices if isinstance(choices, dict) else {}
    return {str(key): value for key, value in found.items() if not str(key).startswith("hydra/")}
