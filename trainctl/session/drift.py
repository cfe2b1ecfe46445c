"""The refusal of a config that differs from a recorded one in keys that must not differ."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

from omegaconf import DictConfig

from trainctl.config._omegaconf import MISSING, text_at
from trainctl.config.drawn import drawn_texts
from trainctl.config.identity import counts
from trainctl.config.keys import at, is_within, split
from trainctl.config.settings import Settings
from trainctl.config.snapshot import recorded_by_value, snapshot
from trainctl.config.values import differing_keys, tell_drift
from trainctl.errors import DriftError
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir

log = logging.getLogger(__name__)


def refuse_drift(
    recorded: Mapping[Any, Any],
    config: DictConfig,
    settings: Settings,
    run: RunDir | None,
    *,
    source: str,
    advice: str,
    ignore: Collection[str],
    is_silent: bool,
) -> None:
    """Refuse a config that differs from a recorded one in a key that must not.

    Args:
        recorded: the plain config of the record.
        config: of the run that starts.
        settings: its `trainctl:` settings.
        run: whose record it is, where that is known.
        source: where the record was read from, for the sentence.
        advice: what the person can do.
        ignore: further keys that may differ.
        is_silent: say nothing of differences that `trainctl.drift=allow` lets pass: they are reported later.

    Raises:
        DriftError: some keys differ; names them with both values.
    """
    now = snapshot(config)
    differing = differing_keys(recorded, now, ignore=ignore)
    # what is missing now, and was not there when Hydra had composed it: the program sets it
    unset = {key for key in differing if at(now, key) == MISSING and at(recorded, key) is None}
    left = {key for key in differing if counts(key, settings.identity.exclude)} - unset
    if left:
        left -= _given_by_resolvers(config, left, run)
    if not left:
        return
    told = tell_drift(recorded, now, sorted(left))
    error = DriftError(f"the config differs from the one recorded in {source} ({told}); {advice}")
    if settings.drift != "allow":
        raise error
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
