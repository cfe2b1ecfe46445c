"""Many runs in one plot: the order of metrics, the colours of runs, and bands in place of too many lines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainctl.config.values import is_finite
from trainctl.panel.data.curves import Points
from trainctl.text import number

# distinguishable with any kind of colour vision, on light and dark backgrounds (after Okabe and Ito)
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#8c6d52", "#999933")
OTHER = "#808890"
RAMP = ("#3b66c4", "#8157b8", "#c2528f", "#de6e52", "#e0a32e")  # from the lowest to the highest number
MOST_BANDS = 6
BAND_STEPS = 120
TENTHS = (0.1, 0.5, 0.9)

_EVALUATED = ("test", "val", "valid", "eval", "dev")


def in_order(metrics: Iterable[str], finals: Sequence[tuple[Any, Mapping[str, float]]]) -> list[str]:
    """Return the metrics, most informative first: those the runs return, those measured on held-out data, the rest.

    A metric that is the same in all runs comes last. `finals` holds each run's return value and last metrics.

    >>> finals = [(0.5, {"accuracy": 0.5, "loss": 2.0}), (0.7, {"accuracy": 0.7, "loss": 1.0})]
    >>> in_order(["epoch", "loss", "accuracy", "val_loss"], finals)
    ['accuracy', 'val_loss', 'loss', 'epoch']
    """
    finals = [one for one in finals if one[1]]

    def rank(metric: str) -> int:
        known = [values[metric] for _, values in finals if metric in values]
        if any(isinstance(result, Mapping) and metric in result for result, _ in finals):
            return 0
        returned = [values.get(metric) == result for result, values in finals if isinstance(result, int | float)]
        if returned and sum(returned) > len(returned) / 2:
            return 0
        if metric in ("epoch", "lr") or metric.rpartition("/")[2] in ("epoch", "lr", "learning_rate"):
            return 3
        if any(word in _EVALUATED for word in metric.lower().replace("/", "_").replace(".", "_").split("_")):
            return 1
        return 3 if len(known) > 1 and len(set(known)) == 1 else 2

    return sorted(metrics, key=rank)


@dataclass(frozen=True, slots=True)
class Colouring:
    """The colour of each run, the groups to which runs belong, and a legend of text, colour and kind of sign."""

    colours: list[str]
    groups: list[str]
    legend: list[tuple[str, str, str]]


def colouring(key: str, values: Sequence[Any]) -> Colouring:
    """Colour runs by a key: numbers along a ramp, words one by one.

    Many numbers lie on the ramp by size, on a logarithmic scale where they span decades; a few by rank.

    >>> colouring("norm", ["new", "batch", "new"]).colours == [PALETTE[0], PALETTE[1], PALETTE[0]]
    True
    >>> colouring("lr", [0.1, 0.001, None]).colours == [RAMP[-1], RAMP[0], OTHER]
    True
    """
    numbers = [one for one in values if is_finite(one)]
    words = [one for one in values if one is not None and not is_finite(one)]
    if words or not numbers:
        texts = ["" if one is None else str(one) for one in values]
        often = [text for text, _ in Counter(filter(None, texts)).most_common(len(PALETTE))]
        shown = sorted(often, key=[*dict.fromkeys(texts)].index)
        colours = dict(zip(shown, PALETTE, strict=False))
        legend = [(text, colour, "") for text, colour in colours.items()]
        if any(text and text not in colours for text in texts):
            legend.append(("others", OTHER, ""))
        groups = [text if text in colours else "others" if text else f"without {key}" for text in texts]
        return Colouring([colours.get(text, OTHER) for text in texts], groups, legend)
    distinct = sorted(set(numbers))
    if len(distinct) <= MOST_BANDS:  # each has a colour of its own, however far apart they are
        colours_of = {one: _on_ramp(at / max(1, len(distinct) - 1)) for at, one in enumerate(distinct)}
        legend = [(number(one), colours_of[one], "") for one in distinct]
        groups = [f"{key}={number(one)}" if is_finite(one) else f"without {key}" for one in values]
    else:
        ramp = f"linear-gradient(90deg, {', '.join(RAMP)})"
        inner = _inner(numbers)
        place = _placed(inner)
        colours_of = {one: _on_ramp(place(one)) for one in distinct}
        beyond = f", {len(numbers) - len(inner)} beyond" if len(numbers) > len(inner) else ""
        legend = [(f"{number(inner[0])} to {number(inner[-1])}{beyond}", ramp, "ramp")]
        groups = _binned(key, values, distinct)
    return Colouring([colours_of[one] if is_finite(one) else OTHER for one in values], groups, legend)


def _binned(key: str, values: Sequence[Any], distinct: Sequence[float]) -> list[str]:
    """Name the group of each number; the groups are equally large."""
    edges = [distinct[len(distinct) * at // MOST_BANDS] for at in range(MOST_BANDS)] + [distinct[-1]]

    def name(one: Any) -> str:
        if not is_finite(one):
            return f"without {key}"
        at = max(place for place in range(MOST_BANDS) if edges[place] <= one)
        return f"{key} {number(edges[at])} to {number(edges[at + 1])}"

    return [name(one) for one in values]


def _inner(numbers: Sequence[float]) -> list[float]:
    """Return the numbers in order, without those so far out that all others would have one colour beside them.

    >>> _inner([1.0, 2.0, 3.0, 4.0, 5.0, -1e9]), _inner([0.1, 0.01, 0.001, 1e30, 0.1]), _inner([1.0, 1.0, 1.0, 50.0])
    ([1.0, 2.0, 3.0, 4.0, 5.0], [0.001, 0.01, 0.1, 0.1], [1.0, 1.0, 1.0, 50.0])
    """
    known = sorted(numbers)
    scale: Callable[[float], float] = math.log if known[0] > 0 else float
    cut = max(1, len(known) // 10) if len(known) > 3 else 0
    ten, ninety = scale(known[cut]), scale(known[-1 - cut])
    reach = 3 * (ninety - ten)
    return [one for one in known if ten - reach <= scale(one) <= ninety + reach] if reach else known


def _placed(inner: Sequence[float]) -> Callable[[float], float]:
    """Return what places a number on the ramp: between 0 and 1, or beyond where it is none of the inner ones."""
    low, high = inner[0], inner[-1]
    if low > 0 and high / low > 20:
        return lambda one: (math.log(one) - math.log(low)) / (math.log(high) - math.log(low)) if one > 0 else -1.0
    return lambda one: (one - low) / (high - low) if high > low else 0.5


def _on_ramp(share: float) -> str:
    at = max(0.0, min(1.0, share)) * (len(RAMP) - 1)
    first = min(int(at), len(RAMP) - 2)
    ends = [[int(colour[place : place + 2], 16) for place in (1, 3, 5)] for colour in RAMP[first : first + 2]]
    return "#" + "".join(f"{round(low + (at - first) * (high - low)):02x}" for low, high in zip(*ends, strict=True))


@dataclass(frozen=True, slots=True)
class Band:
    """The 10th, 50th and 90th percentiles of a group's runs at each step."""

    group: str
    runs: int
    steps: Any
    low: Any
    middle: Any
    high: Any


def bands(lines: Sequence[Points], groups: Sequence[Hashable]) -> list[Band]:
    """Return a band for each group of lines, over the steps of all; a line counts from its first step to its last."""
    of_group: dict[Hashable, list[Points]] = {}
    for line, group in zip(lines, groups, strict=True):
        if len(line[0]):
            of_group.setdefault(group, []).append(line)
    there = [x for each in of_group.values() for x, _ in each]
    if not there:
        return []
    grid = np.linspace(min(x[0] for x in there), max(x[-1] for x in there), BAND_STEPS)
    found = []
    for group, each in of_group.items():
        table = np.array([_on_grid(line, grid) for line in each])
        counts = np.isfinite(table).sum(axis=0)
        table.sort(axis=0)  # what is not finite comes last
        low, middle, high = (_quantile(table, counts, share) for share in TENTHS)
        found.append(Band(str(group), len(table), grid, low, middle, high))
    return found


def _on_grid(line: Points, grid: Any) -> Any:
    x, y = line
    is_there = np.isfinite(y)
    if not is_there.any():
        return np.full(len(grid), np.nan)
    return np.interp(grid, x[is_there], y[is_there], left=np.nan, right=np.nan)


def _quantile(ordered: Any, counts: Any, share: float) -> Any:
    at = share * np.maximum(counts - 1, 0)
    below = at.astype(int)
    above = np.minimum(below + 1, np.maximum(counts - 1, 0))
    columns = np.arange(len(counts))
    one, other = ordered[below, columns], ordered[above, columns]
    return np.where(counts > 0, one + (at - below) * (other - one), np.nan)
