"""The values that distinguish a job from others, key by key."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from trainctl.config._omegaconf import entries, plain, resolved, text_of, walk
from trainctl.config.identity import OF_THE_MOMENT, counts, dotted
from trainctl.config.keys import leaves
from trainctl.config.masking import Masking
from trainctl.config.snapshot import is_plain, plain_value
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.text import clean_line, one_line

_MOST, _LONGEST = 3, 60  # keys that are named, characters of a value
_CALL, _WORD = re.compile(r"\$\{\s*[A-Za-z_][\w.]*\s*:"), re.compile(r"\w+")
_REFERRED = re.compile(r"\$\{\s*([^\s:{}]+)\s*\}")
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class JobValues:
    """The values of one job.

    Attributes:
        resolved: the results of resolver calls (`${oc.env:DATA}`), by dotted key, without possible secrets.
    """

    config: DictConfig
    exclude: Sequence[str]
    drawn: Mapping[str, str]
    masking: Masking
    resolved: Mapping[str, Any]

    @classmethod
    def of(
        cls, config: DictConfig, exclude: Sequence[str], drawn: Mapping[str, str], hidden: Sequence[str] = ()
    ) -> JobValues:
        """Return the values of a job's config; `hidden` are patterns of further secret keys."""
        masking = Masking({}, hidden)
        resolved = {
            key: value
            for key, text, value in _called(config)
            if all(name not in drawn and counts(name, exclude) for name in (key, *_REFERRED.findall(text)))
            and not any(map(masking.hides, (key, *_WORD.findall(text))))
        }
        return cls(config, exclude, drawn, masking, resolved)

    def difference(self, resolved: Any, run: RunDir) -> str:
        """Say which keys have other values in a recorded run: `differs (data.path: /a -> /b)`; empty if it is unknown.

        Args:
            resolved: what the run has recorded of its resolved values.
            run: it has the config as Hydra wrote it.
        """
        there = self._counting({**leaves(files.read_mapping(run.config)), **_as_mapping(resolved)})
        if not there:
            return ""
        own = {key: plain_value(plain(node)) for key, node in entries(self.config) if key != "hydra"}
        here = self._counting({**leaves(own), **self.resolved})
        pairs = {key: (_said(there.get(key, _ABSENT)), _said(here.get(key, _ABSENT))) for key in {**there, **here}}
        changed = [
            f"{key} has another value" if self.masking.hides(key) else f"{key}: {before} -> {now}"
            for key, (before, now) in pairs.items()
            if before != now
        ]
        more = [f"{len(changed) - _MOST} more"] if len(changed) > _MOST else []
        return f"differs ({', '.join([*changed[:_MOST], *more])})" if changed else ""

    def _counting(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in values.items() if key not in self.drawn and counts(key, self.exclude)}


def _called(config: DictConfig) -> Iterator[tuple[str, str, Any]]:
    """Yield key, text and value of every call of a resolver that has a plain value now."""
    for leaf in walk(config, skip=("hydra",)):
        text = text_of(leaf.node)
        if text is None or _CALL.search(text) is None or OF_THE_MOMENT.search(text):
            continue
        with contextlib.suppress(Exception):  # a resolver is the user's code; who reads the key meets what it raises
            value = plain_value(resolved(leaf.container, leaf.path[-1], leaf.node))
            if is_plain(value):
                yield dotted(leaf.path), text, value


def _as_mapping(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _said(value: Any) -> str:
    text = "not set" if value is _ABSENT else value if isinstance(value, str) else one_line(value)
    return clean_line(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
