"""Whether a run starts from the config that was recorded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from trainctl.config import yaml
from trainctl.config.keys import leaves, split
from trainctl.config.values import is_same
from trainctl.errors import DriftError

_ABSENT = object()
_MOST = 20


def differing_keys(
    recorded: Mapping[Any, Any], current: Mapping[Any, Any], *, ignore: Collection[str] = ()
) -> list[str]:
    """Return the keys whose values differ, sorted; `1`, `1.0` and `true` are three values.

    All below `trainctl` is passed over, and so are the keys in `ignore`.

    >>> differing_keys({"lr": 0.1, "n": 1}, {"lr": 0.2, "n": 1, "new": 0})
    ['lr', 'new']
    """
    one, other = leaves(recorded), leaves(current)
    return sorted(
        key
        for key in {**one, **other}
        if split(key)[0] != "trainctl"
        and key not in ignore
        and not is_same(one.get(key, _ABSENT), other.get(key, _ABSENT))
    )


def check(
    recorded: Mapping[Any, Any], current: Mapping[Any, Any], *, source: str, allowed: str, ignore: Collection[str] = ()
) -> None:
    """Refuse a config that differs from the recorded one.

    Args:
        recorded: the plain config at step 0 of the record.
        current: the plain config of the run that starts.
        source: where the record was read from.
        allowed: what the person can do about it.
        ignore: keys that may differ.

    Raises:
        DriftError: some keys differ; names them with both values.
    """
    differing = differing_keys(recorded, current, ignore=ignore)
    if not differing:
        return
    one, other = leaves(recorded), leaves(current)
    lines = [f"{key}: recorded {_show(one, key)}, now {_show(other, key)}" for key in differing[:_MOST]]
    if len(differing) > _MOST:
        lines.append(f"and {len(differing) - _MOST} more")
    raise DriftError(f"the config differs from the one recorded in {source} ({'; '.join(lines)}); {allowed}")


def _show(values: Mapping[str, Any], key: str) -> str:
    text = yaml.inline(values[key]) if key in values else "absent"
    return text if len(text) <= 60 else text[:60] + "…"
