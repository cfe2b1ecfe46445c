"""From many runs to one table."""

from __future__ import annotations

from collections.abc import Sequence


def varying(overrides: Sequence[Sequence[str]]) -> dict[str, list[str | None]]:
    """Return the keys in which the runs differ, in order of first appearance, with each run's value as it was written.

    A key that a run did not override has the value None there; one that it deleted (`~key`) has the value `~`.

    >>> varying([["norm=new", "lr=0.1"], ["norm=batch", "lr=0.1"]])
    {'norm': ['new', 'batch']}
    """
    runs = [dict(map(_pair, run)) for run in overrides]
    keys = dict.fromkeys(key for run in runs for key in run)
    columns = {key: [run.get(key) for run in runs] for key in keys}
    return {key: values for key, values in columns.items() if len(set(values)) > 1}


def _pair(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return (key[1:], "~") if key.startswith("~") else (key.lstrip("+"), value)
