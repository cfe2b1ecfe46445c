"""The union of grids of `hydra/sweeper=grids`: its jobs and their order."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hydra.errors import OverrideParseException

from trainctl.config.overrides import override_key, worded
from trainctl.errors import SettingError

MOST_JOBS = 1_000_000  # the overrides of all jobs are in memory
TITLE, ZIP = "_title", "_zip"

_TOKENS = re.compile(r" expecting \{.*\}$")  # the parser's names of tokens, which tell users nothing

# Reads override lines as Hydra does, files of `glob` included: a list of `hydra…override_parser.types.Override`.
Parse = Callable[[list[str]], Sequence[Any]]


@dataclass
class GridSweeperConf:
    _target_: str = "hydra_plugins.hydra_trainctl.grids.GridSweeper"

    # one mapping per grid: key to values in Hydra's sweep syntax ("new,batch", "range(1,4)") or as a list; every
    # combination is a job. `_title` names the grid, `_zip: [lr, batch]` takes the values of these keys pairwise;
    # null and not an empty list, because Hydra could not merge a mapping into a list, and would not say why
    grids: Any = None

    # run this many random combinations of each grid; null runs all
    sample: int | None = None

    # seed of the draw for `sample` and `shuffle(…)`
    seed: int = 0

    # run only the grids with these titles; null runs all
    titles: Any = None

    # run each combination this many times, with trainctl.seed counted up from 0, or from the config's own
    seeds: int = 1


@dataclass(frozen=True, slots=True)
class Axis:
    """Keys (without prefix) that change together, and their settings in order: one override line per key."""

    keys: tuple[str, ...]
    settings: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """Every combination of the axes' settings is a job; the last axis changes fastest."""

    name: str
    title: str | None
    axes: tuple[Axis, ...]

    @property
    def size(self) -> int:
        """The number of combinations; `len` overflows for a large grid."""
        return math.prod(len(axis.settings) for axis in self.axes)

    def combination(self, number: int) -> tuple[str, ...]:
        """Return the override lines of one combination, counted from 0."""
        chosen = []
        for axis in reversed(self.axes):
            number, place = divmod(number, len(axis.settings))
            chosen.append(axis.settings[place])
        return tuple(itertools.chain.from_iterable(reversed(chosen)))

    def without(self, keys: set[str]) -> Grid:
        """Return the grid without these keys, which the command line has taken over."""
        axes = []
        for axis in self.axes:
            kept = [place for place, key in enumerate(axis.keys) if key not in keys]
            settings = dict.fromkeys(tuple(setting[place] for place in kept) for setting in axis.settings)
            if kept:
                axes.append(Axis(tuple(axis.keys[place] for place in kept), tuple(settings)))
        return Grid(self.name, self.title, tuple(axes))


def read_grids(raw: Any, parse: Parse) -> list[Grid]:
    """Read `hydra.sweeper.grids`.

    Raises:
        SettingError: there is no grid, or one has no values, the wrong form, or an axis that cannot be listed.
    """
    where = "hydra.sweeper.grids"
    raw = [] if raw is None else raw
    if isinstance(raw, (str, bytes, Mapping)) or not isinstance(raw, Sequence):
        raise SettingError(f"{where} must be a list of grids such as [{{lr: '0.1,0.2'}}], but got {raw!r}")
    if not raw:
        raise SettingError(
            f"{where} is empty, so there is nothing to run; give it at least one grid, {{lr: '0.1,0.2'}}"
        )
    return [_read_grid(f"{where}[{number}]", each, parse) for number, each in enumerate(raw)]


def _read_grid(name: str, raw: Any, parse: Parse) -> Grid:
    if not isinstance(raw, Mapping):
        raise SettingError(f"{name} must be a mapping of keys to values, but got {raw!r}")
    title = raw.get(TITLE)
    axes = {str(key): _read_axis(f"{name}.{key}", str(key), value, parse)
            for key, value in raw.items() if key not in (TITLE, ZIP)}  # fmt: skip
    if not axes:
        raise SettingError(f"{name} is empty; name at least one key and its values, lr: '0.1,0.2'")
    for group in _zipped(name, raw.get(ZIP), axes):
        first, *others = (axes[key] for key in group)
        for other in others:
            if len(other.settings) != len(first.settings):
                raise SettingError(
                    f"{name}.{ZIP} takes the values of {first.keys[0]} and {other.keys[0]} pairwise, but there are "
                    f"{len(first.settings)} and {len(other.settings)}; give both the same number"
                )
        settings = zip(*(axes[key].settings for key in group), strict=True)
        joined = tuple(tuple(itertools.chain.from_iterable(each)) for each in settings)
        axes[group[0]] = Axis(tuple(axes[key].keys[0] for key in group), joined)
        for key in group[1:]:
            del axes[key]
    return Grid(name, None if title is None else str(title), tuple(axes.values()))


def _zipped(name: str, raw: Any, axes: Mapping[str, Axis]) -> list[list[str]]:
    """Return the groups of keys of `_zip`: one group, or a list of groups."""
    if raw is None:
        return []
    is_list = isinstance(raw, Sequence) and not isinstance(raw, str) and len(raw) > 0
    groups = (list(raw) if all(isinstance(each, list) for each in raw) else [raw]) if is_list else [raw]
    for group in groups:
        if not isinstance(group, list) or len(group) < 2 or any(str(key) not in axes for key in group):
            known = ", ".join(sorted(axes))
            raise SettingError(f"{name}.{ZIP}={raw!r} must list two or more keys of this grid, which are {known}")
    keys = [str(key) for group in groups for key in group]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise SettingError(f"{name}.{ZIP} names {twice[0]} twice; a key can be zipped once")
    return [[str(key) for key in group] for group in groups]


def _read_axis(where: str, key: str, value: Any, parse: Parse) -> Axis:
    if isinstance(value, Mapping):
        raise SettingError(
            f"{where} is a mapping; write each key below it with its full name, `{key}.…`, "
            "and on the command line put values like glob(*) in quotes"
        )
    if isinstance(value, list):
        if not value:
            raise SettingError(f"{where} is an empty list, so the grid would run nothing; give it values")
        lines = [f"{key}={worded(each)}" for each in value]
        return Axis((override_key(key),), tuple((line,) for line in dict.fromkeys(lines)))
    if isinstance(value, str) and not value.strip():
        raise SettingError(f"{where} is empty, so the grid would run nothing; give it values, or write '' for the text")
    return axis_of(_read_line(where, f"{key}={value if isinstance(value, str) else worded(value)}", parse), where)


def _read_line(where: str, line: str, parse: Parse) -> Any:
    try:
        (override,) = parse([line])
    except OverrideParseException as error:
        # Hydra names neither the grid nor, of what breaks off, the key; its last line is a link
        lines = [_TOKENS.sub("", text).strip() for text in error.message.splitlines()[:-1] if line not in text]
        why = "; ".join(text for text in lines if text not in ("", "^")) or "that is not a key"
        raise SettingError(f"{where}: Hydra cannot read {line!r}: {why}") from error
    if not override.key_or_group:
        raise SettingError(f"{where}: {line!r} names no key")
    return override


def axis_of(override: Any, where: str | None = None) -> Axis:
    """Return the axis of a Hydra override; one that sweeps nothing has one setting.

    Raises:
        SettingError: its values cannot be listed (`interval`), or there are none.
    """
    name = override.get_key_element()
    key = override_key(name)
    if not override.is_sweep_override():
        line = name if name.startswith("~") and override.value() is None else override.input_line
        return Axis((key,), ((str(line),),))
    if not override.is_discrete_sweep():
        kind = override.value_type.name.lower().removesuffix("_sweep")
        raise SettingError(
            f"{where or override.input_line}: {kind} has no values that could be listed; "
            "write choice(…) or range(…), or use a sweeper that searches, such as hydra/sweeper=optuna"
        )
    _check_range(override.value(), where or override.input_line)
    words = {"True": "true", "False": "false"}  # as Hydra writes booleans; text would be in quotes
    texts = (words.get(text, text) for text in override.sweep_string_iterator())
    lines = tuple(dict.fromkeys(f"{name}={text}" for text in texts))
    if not lines:
        raise SettingError(f"{where or override.input_line} has no values, so there is nothing to run")
    return Axis((key,), tuple((line,) for line in lines))


def _check_range(value: Any, where: str) -> None:
    """Raise SettingError of a `range(…)` with too many values to be listed, or none that could be."""
    start, stop, step = (getattr(value, name, None) for name in ("start", "stop", "step"))
    if start is None or stop is None or step is None:
        return
    if not step:
        raise SettingError(f"{where}: a range cannot have the step 0")
    number = (stop - start) / step
    if not number <= MOST_JOBS:  # true of nan, too
        raise SettingError(f"{where} would be {number:,.0f} values, more than {MOST_JOBS:,}; take a larger step")


def choose(grids: Sequence[Grid], titles: Any) -> list[Grid]:
    """Return the grids with one of these titles, in the grids' order; all when `titles` is null.

    Raises:
        SettingError: a title that no grid has.
    """
    if titles is None:
        return list(grids)
    wanted = [titles] if isinstance(titles, str) else titles
    known = list(dict.fromkeys(grid.title for grid in grids if grid.title is not None))
    if not isinstance(wanted, Sequence) or not wanted:
        raise SettingError(f"hydra.sweeper.titles={titles!r} must be a list of titles, or null for all grids")
    for title in wanted:
        if str(title) not in known:
            allowed = f"known are {', '.join(known)}" if known else "no grid has a `_title`"
            raise SettingError(f"hydra.sweeper.titles: no grid is called {str(title)!r}; {allowed}")
    return [grid for grid in grids if grid.title in {str(title) for title in wanted}]


def combine(
    grids: Sequence[Grid], given: Sequence[Axis], *, sample: int | None, seed: int
) -> Iterator[tuple[str, ...]]:
    """Yield the override lines of every job: grid by grid, each combination times what the command line sweeps.

    A key on the command line replaces the same key of a grid. Of a sampled grid the chosen combinations
    come in the order of the whole, and each gets all that the command line sweeps.

    Raises:
        SettingError: there would be too many.
    """
    keys = {key for axis in given for key in axis.keys}
    line = Grid("command line", None, tuple(given))
    for grid in (each.without(keys) for each in grids):
        size = grid.size if sample is None else min(sample, grid.size)
        if size * line.size > MOST_JOBS:
            raise SettingError(
                f"{grid.name} would be {size * line.size:,} jobs, more than {MOST_JOBS:,}; "
                "take some at random with hydra.sweeper.sample"
            )
        numbers = range(size) if size == grid.size else _drawn(random.Random(f"{seed} {grid.name}"), grid.size, size)
        for number in numbers:
            for place in range(line.size):
                yield (*grid.combination(number), *line.combination(place))


def _drawn(draw: random.Random, size: int, wanted: int) -> Sequence[int]:
    """Return `wanted` different numbers below `size`, sorted; `random.sample` does not take ranges that long."""
    if size < 4 * wanted:
        return sorted(draw.sample(range(size), wanted))
    found: set[int] = set()
    while len(found) < wanted:
        found.add(draw.randrange(size))
    return sorted(found)


def check_number(name: str, value: Any, least: int) -> int:
    """Return a whole number from `least` on.

    Raises:
        SettingError: it is not such a number.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SettingError(f"hydra.sweeper.{name} must be a whole number, at least {least}, but got {value!r}")
    return value


@contextmanager
def shuffling(seed: int) -> Iterator[None]:
    """Make Hydra's `shuffle(…)`, which uses Python's global generator, give the same order each time."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
