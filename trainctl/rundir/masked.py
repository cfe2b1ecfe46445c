"""Masking of a run's secrets before rows are made, so that no view has to care about it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any

from trainctl.config.changelog import Changelog
from trainctl.config.keys import leaves
from trainctl.config.masking import Masking, patterns_of
from trainctl.config.settings_node import NODE
from trainctl.config.yaml import read_document
from trainctl.errors import ChangelogError
from trainctl.rundir import files
from trainctl.rundir.edits import read_changelog
from trainctl.rundir.paths import RunDir

_WORDS = ("token", "key", "pass", "secret", "credential")  # of all names that `Masking` takes for a credential's
_PART = re.compile(rb"^(?=\d+:)", re.MULTILINE)
_MOST_PARSED = 64 * 1024
_SETTINGS = re.compile(rf"^  {NODE}:\n((?:    [^\n]*\n)*)", re.MULTILINE)


def masking_of(run: RunDir, log: Changelog | None) -> Masking:
    """Return the masking of a run, from its changelog; without a readable one from Hydra's record.

    If neither can be read, only texts that look like secrets are masked.
    """
    if log is not None:
        masking = Masking(log.base, patterns_of(log.base))
        masking.learn_edits(log)
        return masking
    config = files.read_mapping(run.config)
    return Masking(config, patterns_of({**config, NODE: _settings(run)}))


def secrets_of(run: RunDir) -> Masking:
    """Return the masking of a run, from the present content of its directory."""
    try:
        return masking_of(run, read_changelog(run))
    except ChangelogError:
        return masking_of(run, None)


def learn_unparsed(masking: Masking, changelog: bytes) -> None:
    """Learn the secrets of a changelog that is too long to be parsed at each look.

    Of its parts only those are parsed that have a word of a credential or of a hidden key: the latest, as far as
    `_MOST_PARSED` bytes go.
    """
    pattern = re.compile("|".join([*_WORDS, *masking.hidden_names]).encode(), re.IGNORECASE)
    parts = dict.fromkeys(part for part in reversed(_PART.split(changelog)) if pattern.search(part))
    left = _MOST_PARSED
    for part in parts:
        left -= len(part)
        if left < 0:
            break
        with contextlib.suppress(ValueError):
            document = read_document(part.decode(), ValueError)
            for values in document.values() if isinstance(document, dict) else ():
                for key, value in leaves(values).items() if isinstance(values, dict) else ():
                    masking.learn(key, value)


def _settings(run: RunDir) -> Any:
    """Return the settings of trainctl in Hydra's record, which keeps them outside the task's config."""
    try:
        text = files.read_bytes(run.config.parent / "hydra.yaml").decode(errors="replace")
        match = _SETTINGS.search(text)
        return read_document(match[1], ValueError) if match else None
    except (OSError, ValueError):
        return None


def texts(masking: Masking, value: Any) -> Any:
    """Mask secrets in an untrusted record: its texts may repeat some, whatever its keys are called."""
    if isinstance(value, str):
        return masking.text(value)
    if isinstance(value, Mapping):
        return {key: texts(masking, inner) for key, inner in value.items()}
    return [texts(masking, inner) for inner in value] if isinstance(value, list | tuple) else value
