"""A run's config at its start and at its end, read so that what thousands of runs have in common is parsed once."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import yaml as pyyaml

from trainctl.config import changelog, yaml
from trainctl.config.keys import leaves
from trainctl.errors import ChangelogError
from trainctl.run.rundir import RunDir

_BASE = re.compile(r"\A(?:#[^\n]*\n)*0:[^\n{]*\n((?:  [^\n]*\n|\n)+)#\.\n\Z")
_BLOCK = re.compile(r"^  (?! |- |-$|\?|#|[\"'&*!|>%@`{\[])", re.MULTILINE)
_CHOICES = re.compile(r"^    choices:\n((?:      [^\n]*\n)*)", re.MULTILINE)


def configs_of(run: RunDir) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Return the leaves of the config at the start, those that edits had changed at the end, and the number of edits.

    Without a changelog Hydra's own record is the config; without that it is empty.

    Raises:
        ChangelogError: the changelog, or where there is none Hydra's record, cannot be read.
    """
    try:
        text = run.changelog.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return _hydra_config(run), {}, 0
    except OSError as error:
        raise ChangelogError(f"{run.changelog}: {error.strerror or error}") from error
    base = base_of(text)
    if base is not None:
        return base, {}, 0
    log = changelog.loads(text.encode(), str(run.changelog))
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
        entry = yaml.loads(text)
    except Exception:  # noqa: BLE001  # PyYAML raises anything; the whole file is read then, for its error
        return None
    if not isinstance(entry, dict) or len(entry) != 1:
        return None
    return next(iter(entry)), leaves(entry)


def _hydra_config(run: RunDir) -> dict[str, Any]:
    try:
        text = run.config.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ChangelogError(f"{run.config}: {error.strerror or error}") from error
    try:
        config = _whole(text)
    except (pyyaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ChangelogError(f"{run.config} is not YAML: {' '.join(str(error).split())[:200]}") from error
    return leaves(config) if isinstance(config, dict) else {}


@lru_cache(maxsize=64)
def _whole(text: str) -> Any:
    return yaml.loads(text)


def choices_of(run: RunDir) -> dict[str, Any]:
    """Return which option of each config group the run took; Hydra's own groups left out."""
    try:
        text = (run.config.parent / "hydra.yaml").read_text(encoding="utf-8", errors="replace")
        match = _CHOICES.search(text)
        choices = _whole(match[1]) if match else None
    except (OSError, pyyaml.YAMLError, ValueError, TypeError):
        return {}
    found = choices if isinstance(choices, dict) else {}
    return {str(key): value for key, value in found.items() if not str(key).startswith("hydra/")}
