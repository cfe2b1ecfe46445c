"""Values of runs as a pandas DataFrame that leaves each of them as it is, and their mean over groups of runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from trainctl.config.values import is_number
from trainctl.examine.columns import apart, exact, same
from trainctl.rundir import files
from trainctl.rundir.fields import as_float

_INT64 = range(-(2**63), 2**63)


def frame_of(keys: Mapping[str, Sequence[Any]], columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Return a frame with `keys` as its index and a column for each of `columns`."""
    index = _index(keys, len(next(iter([*keys.values(), *columns.values()]), ())))
    found = pd.DataFrame({at: _column(values, index) for at, values in enumerate(columns.values())}, index=index)
    found.columns = pd.Index(list(columns), dtype=object)
    return found


def statistics(groups: Sequence[int], values: Sequence[object], number: int) -> tuple[list[Any], list[Any], list[int]]:
    """Return mean, standard deviation of a sample, and count of the numbers in each of so many groups.

    NaN and infinities are numbers: the mean is then one of them, and there is no deviation.

    >>> statistics([0, 0, 1], [1.0, 3.0, 2], 3)
    ([2.0, 2.0, None], [1.4142135623730951, None, None], [2, 1, 0])
    """
    known = [(group, as_float(one)) for group, one in zip(groups, values, strict=True) if is_number(one)]
    frame = pd.DataFrame(known, columns=["group", "value"]).astype({"group": int, "value": float})
    with np.errstate(over="ignore", invalid="ignore"):
        found = frame.groupby("group")["value"].agg(["mean", "std", "size"]).reindex(range(number))
    counts = found["size"].fillna(0).astype(int).tolist()
    diverged = set(frame["group"][frame["value"].isna()])  # pandas passes over NaN
    means = [math.nan if group in diverged else mean for group, mean in enumerate(found["mean"].tolist())]
    stds = zip(means, found["std"].tolist(), counts, strict=True)
    return (
        [mean if count else None for mean, count in zip(means, counts, strict=True)],
        [std if math.isfinite(mean) and count > 1 else None for mean, std, count in stds],
        counts,
    )


def with_means(
    keys: Mapping[str, Sequence[Any]],
    counts: Mapping[str, Sequence[int]],
    groups: Sequence[int],
    metrics: Mapping[str, Sequence[object]],
) -> pd.DataFrame:
    """Return a row for each group: `counts`, then `NAME`, `NAME std` and `NAME count` of each metric.

    Args:
        keys: what the groups have in common, one value each; the index.
        counts: columns of counts, one value for each group.
        groups: which group each run belongs to.
        metrics: values of each metric, one for each run; what is not a number does not count.
    """
    number = len(next(iter(counts.values())))
    columns: dict[str, Sequence[Any]] = dict(counts)
    means = []
    for metric, values in metrics.items():
        head = apart(metric, (*keys, *columns), "metric", parts=("", " std", " count"))
        means.append(head)
        columns[head], columns[f"{head} std"], columns[f"{head} count"] = statistics(groups, values, number)
    table = frame_of(keys, columns)
    table.attrs = {"constants": {}, "keys": list(keys), "means": means}
    return table


def values_of(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Return the columns, those of a named index first, as Python's values; what is missing is None."""
    levels = {name: table.index.get_level_values(name).tolist() for name in table.index.names if name is not None}
    if table.index.nlevels > 1:  # which has NaN for None
        levels = {name: [None if value != value else value for value in values] for name, values in levels.items()}  # noqa: PLR0124
    columns = {str(head): column.tolist() for head, column in table.items()}
    return {
        head: [None if value is pd.NA else value for value in values] for head, values in {**levels, **columns}.items()
    }


def _column(values: Sequence[Any], index: pd.Index) -> pd.Series:
    """Return values by the narrowest dtype that leaves them as they are; 1 and 0.5 together are objects."""
    kinds = {type(value) for value in values if value is not None}
    missing = np.array([value is None for value in values], dtype=bool)
    if kinds == {float}:
        numbers = np.array([0.0 if value is None else value for value in values])
        if missing.any() or np.isnan(numbers).any():  # float64 has one NaN for both
            return pd.Series(pd.arrays.FloatingArray(numbers, missing), index=index)
        return pd.Series(numbers, index=index)
    if kinds == {int} and all(value is None or value in _INT64 for value in values):
        return pd.Series(values, index=index, dtype="Int64" if missing.any() else "int64")
    if kinds == {bool}:
        return pd.Series(values, index=index, dtype="boolean" if missing.any() else "bool")
    return pd.Series(values, index=index, dtype=object)


def _index(keys: Mapping[str, Sequence[Any]], number: int) -> pd.Index:
    if not keys:
        return pd.RangeIndex(number)
    if len(keys) == 1:
        return pd.Index(
            [_hashable(value) for one in keys.values() for value in one], dtype=object, name=next(iter(keys))
        )
    return pd.MultiIndex.from_arrays([pd.Index(_level(one), dtype=object) for one in keys.values()], names=list(keys))


def _hashable(value: Any) -> Any:
    return value if isinstance(value, int | float | str) or value is None else exact(value)


def _level(values: Sequence[Any]) -> list[Any]:
    """Return values as pandas keeps them apart: as text if both true and 1, or both NaN and None, are among them."""
    found = [_hashable(value) for value in values]
    if len(set(found)) != len(set(map(same, values))) or any(value != value for value in found):  # noqa: PLR0124
        found = [exact(value) for value in values]
    return [files.encoded(value).decode() if isinstance(value, str) else value for value in found]
