"""The check whether a config differs from a recorded one in keys that must not differ."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

from omegaconf import DictConfig

from trainctl.config import drift
from trainctl.config._omegaconf import MISSING, text_at
from trainctl.config.drawn import drawn_texts
from trainctl.config.identity import counts
from trainctl.config.keys import at, is_within, split
from trainctl.config.settings import Settings
from trainctl.config.snapshot import recorded_by_value, snapshot
from trainctl.errors import DriftError
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir

log = logging.getLogger(__name__)


class DriftCheck:
    """Compares a config with a recorded one.

    Args:
        recorded: the plain config of the record.
        config: of the run that starts.
        settings: its `trainctl:` settings.
        run: whose record it is, where that is known.
    """

    def __init__(self, recorded: Mapping[Any, Any], config: DictConfig, settings: Settings, run: RunDir | None) -> None:
        self._recorded, self._config, self._settings, self._run = recorded, config, settings, run

    def __call__(self, source: str, allowed: str, *, ignore: Collection[str], is_silent: bool) -> None:
        """Refuse a config that differs in a key that must not.

        Args:
            source: where the record was read from, for the sentence.
            allowed: what the person can do.
            ignore: further keys that may differ.
            is_silent: say nothing of differences that `trainctl.drift=allow` lets pass: it is reported later.

        Raises:
            DriftError: some keys differ.
        """
        now = snapshot(self._config)
        differing = drift.differing_keys(self._recorded, now, ignore=ignore)
        exclude = self._settings.identity.exclude
        # what is missing now, and was not there when Hydra had composed it: the program sets it
        unset = {key for key in differing if at(now, key) == MISSING and at(self._recorded, key) is None}
        left = {key for key in differing if counts(key, exclude)} - unset
        if left:
            left -= _given_by_resolvers(self._config, left, self._run)
        try:
            drift.check(self._recorded, now, source=source, allowed=allowed, ignore={*ignore, *(set(differing) - left)})
        except DriftError as error:
            if self._settings.drift != "allow":
                raise
            if not is_silent:
                log.warning("%s", error)


def _given_by_resolvers(config: DictConfig, keys: Collection[str], run: RunDir | None) -> set[str]:
    """Return the keys whose value comes from a resolver: a drawn value, or the same call as in the record."""
    called = recorded_by_value(config).keys() & set(keys)
    if not called:
        return set()
    drawn, texts = drawn_texts(config), {} if run is None else files.read_mapping(run.config)
    return {
        key
        for key in called
        if key in drawn or any(is_within(each, [key]) for each in drawn) or _is_same_call(texts, config, key)
    }


def _is_same_call(texts: Mapping[Any, Any], config: DictConfig, key: str) -> bool:
    text = text_at(config, split(key))
    return text is not None and at(texts, key) == text
