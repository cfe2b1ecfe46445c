"""Which jobs of a sweep are equal by their identity, told without composing each of them.

Jobs that choose the same options differ only in the values they set: Hydra applies these last. So the configs of two
jobs are equal if, and only if, they have the same value wherever a job of the sweep sets one, and wherever the
compositions of the options differ. These places are the columns of a table with a row for each job. A cell that holds
an interpolation is resolved only for jobs that agree in all that is known without.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException
from omegaconf.nodes import ValueNode

from trainctl.compose.pairs import FittingLoader, adapted_keys, fit, raw_leaves
from trainctl.config.identity import counts, timeless, worth, worth_at
from trainctl.config.keys import is_within
from trainctl.config.overrides import parse_overrides
from trainctl.config.settings import settings_of
from trainctl.errors import TrainctlError

# choices of options that are composed, 25-40 ms each, which is saved again when their jobs are; jobs with others are
# equal only by their words
MOST_BASES = 64

Job = tuple[str, ...]

_OPEN = "${"  # a cell that is to be resolved; no other begins like this, they are JSON
_ABSENT = ""  # the cell of a key that is not there, or makes no difference
_SETS = (OverrideType.CHANGE, OverrideType.ADD, OverrideType.FORCE_ADD)
_WHAT_IS_DONE = "trainctl.run"  # which commands of a pipeline run
_DECIDES_ABOUT_OTHERS = ("from", "trainctl.identity", "trainctl.pairs")


class Likenesses:
    """Tells equal jobs of a sweep.

    Args:
        loader: composes as the jobs' own processes do.
        config: the sweep's.
    """

    def __init__(self, loader: Any, config: DictConfig) -> None:
        self._fits = isinstance(loader, FittingLoader)
        self._loader = loader.loader if isinstance(loader, FittingLoader) else loader  # values may be missing as yet
        self._config = config
        self._lines: dict[str, _Line] = {}
        self._bases: dict[tuple[str, ...], _Base | None] = {}

    def tell(self, jobs: Sequence[Job]) -> list[Hashable]:
        """Return something for each job that is equal for equal ones: the same task config, whatever the words."""
        placed = [self._place(job) for job in jobs]
        columns = _columns(placed)
        rows = [each.row(columns) for each in placed]
        is_open = {place for row in rows for place, cell in enumerate(row) if cell == _OPEN}
        known = [tuple(cell for place, cell in enumerate(row) if place not in is_open) for row in rows]
        count = Counter(known)
        return [
            tuple(each.resolved(row, columns) if count[what] > 1 and _OPEN in row else row)
            for each, row, what in zip(placed, rows, known, strict=True)
        ]

    def _place(self, job: Job) -> _Placed:
        """Tell values from options, so that the config with the options has a place for each value."""
        lines = [self._read(text) for text in job]
        changes = [line for line in lines if not (line.is_value or line.is_group or line.is_apart)]
        values = [line for line in lines if line.is_value]
        apart = frozenset(line.text for line in lines if line.is_apart)
        words = frozenset(job)
        while True:
            values = [line for line in values if not any(line.meets(each) for each in changes)]
            options = tuple(line.text for line in lines if not (line.is_apart or line in values))
            base = self._base(options)
            if base is None:
                return _Placed(words, words, None, {})
            misfits = [line for line in values if not base.has_place_for(line)]
            if not misfits:
                found = {line.key: line for line in values}
                return _Placed(words, apart if base.tells_apart(found) else words, base, found)
            changes += misfits

    def _read(self, text: str) -> _Line:
        if text not in self._lines:
            (override,) = parse_overrides([text])
            self._lines[text] = _Line(text, override, self._loader.repository)
        return self._lines[text]

    def _base(self, options: tuple[str, ...]) -> _Base | None:
        """Return what these options compose to; None where that is not known: it fails, or there are too many."""
        if options not in self._bases:
            if len(self._bases) >= MOST_BASES:
                return None
            try:
                config = self._loader.load_sweep_config(self._config, list(options))
                self._bases[options] = _Base(config, fits=self._fits)
            except Exception:  # noqa: BLE001  # whatever is wrong, the jobs themselves show it when they are composed
                self._bases[options] = None
        return self._bases[options]


class _Line:
    """An override line, read.

    Attributes:
        is_value: it sets one key to a value, which decides about no other key.
        is_open: the value has an interpolation.
        is_apart: it changes what is done with a job, not what job it is; what differs there is never called equal.
    """

    def __init__(self, text: str, override: Override, repository: Any) -> None:
        self.text = text
        self.key = str(override.key_or_group)
        self.value = override.value()
        self.is_apart = override.is_hydra_override() or self.key.startswith(_WHAT_IS_DONE)
        self.is_group = bool(repository.group_exists(self.key)) and not isinstance(self.value, dict)
        self.adds = override.type is not OverrideType.CHANGE
        self.changes = override.type is not OverrideType.ADD
        self.is_open = _is_open(self.value)
        self.is_value = (
            override.type in _SETS
            and override.package is None
            and not (self.is_apart or self.is_group or isinstance(self.value, dict))
            and not is_within(self.key, _DECIDES_ABOUT_OTHERS)
            and not set("[]\\") & set(self.key)
        )

    def meets(self, other: _Line) -> bool:
        """Say whether one's key is the other's, or below it."""
        return is_within(self.key, [other.key]) or is_within(other.key, [self.key])


class _Base:
    """What some options compose to, before any value is set.

    Attributes:
        row: the cells of the keys that tell jobs apart.
    """

    def __init__(self, config: DictConfig, *, fits: bool) -> None:
        self._config = config
        self._exclude = settings_of(config).identity.exclude
        self._adapted = adapted_keys(config) if fits else None
        self._cells: dict[str, str] = {}
        self._drafts: dict[frozenset[str], DictConfig] = {}
        raw = {key: value for key, value in raw_leaves(config).items() if self.counts(key)}
        self.row = {key: _OPEN if _is_open(value) else worth(value) for key, value in raw.items()}
        self.row.update(dict.fromkeys(self._adapted or (), _OPEN))

    def counts(self, key: str) -> bool:
        """Say whether a key tells jobs apart."""
        return counts(key, self._exclude)

    def tells_apart(self, values: Mapping[str, _Line]) -> bool:
        """Say whether anything in a job's config counts: else it has no identity, and is never taken for another."""
        return bool(self.row) or any(self.counts(key) for key in values)

    def has_place_for(self, line: _Line) -> bool:
        """Say whether a line sets an entry of a mapping and nothing else, as Hydra would."""
        place = self._find(line.key)
        if place is None:
            return False
        return line.adds if place[1] is None else line.changes and not isinstance(place[1], DictConfig)

    def cell(self, line: _Line) -> str:
        """Return the cell of a value that a job sets."""
        if line.text not in self._cells:
            self._cells[line.text] = self._find_cell(line)
        return self._cells[line.text]

    def _find_cell(self, line: _Line) -> str:
        if not self.counts(line.key):
            return _ABSENT
        if line.is_open or line.key in (self._adapted or ()):
            return _OPEN
        place = self._find(line.key)
        assert place is not None  # the line was placed here
        parent, node = place
        try:
            if isinstance(node, ValueNode):
                return worth(node.validate_and_convert(line.value))
            if node is None and not isinstance(line.value, list) and parent._metadata.element_type is Any:
                return worth(line.value)
            return self.resolve({line.key: line}, [line.key])[0]
        except OmegaConfBaseException:
            return worth(line.value)  # which is refused when the job is composed

    def _find(self, key: str) -> tuple[Any, Any] | None:
        """Return the mapping that has or gets a key's first entry that is new, or its last one; and that, if there.

        None where something else than a mapping with entries is on the way: None, a list, or a reference.
        """
        parent: Any = None
        node: Any = self._config
        for part in key.split("."):
            content = node.__dict__["_content"] if isinstance(node, DictConfig) else None
            if not content or not isinstance(content, dict):
                return None
            parent, node = node, content.get(part)
            if node is None:
                break
        return parent, node

    def resolve(self, values: Mapping[str, _Line], columns: Sequence[str]) -> list[str]:
        """Return the cells of some keys with a job's values, interpolations resolved."""
        if self._adapted is None and not any(line.is_open for line in values.values()):
            config = self._draft(frozenset(values))
            _set(config, values.values())
        else:
            config = copy.deepcopy(self._config)
            _set(config, values.values())
            with read_write(config.hydra), open_dict(config.hydra):
                config.hydra.overrides.task.extend([line.text for line in values.values()])
            if self._adapted is not None:
                fit(config)
            config = timeless(config)
        return [(self.counts(column) and worth_at(config, column)) or _ABSENT for column in columns]

    def _draft(self, keys: frozenset[str]) -> DictConfig:
        """Return a copy that is used again for jobs that set the same keys: each sets all that the last one has set."""
        if keys not in self._drafts:
            self._drafts[keys] = timeless(copy.deepcopy(self._config))
        return self._drafts[keys]


@dataclass(frozen=True, slots=True)
class _Placed:
    """A job that is to get its row in the table.

    Attributes:
        words: its override lines.
        kind: what must be equal besides the cells.
        base: None when jobs like this are equal only by their words.
    """

    words: frozenset[str]
    kind: frozenset[str]
    base: _Base | None
    values: dict[str, _Line]

    def row(self, columns: Sequence[str]) -> list[Hashable]:
        """Return the kind, then the job's cells in some columns."""
        if self.base is None:
            return [self.kind]
        base, values = self.base, self.values
        cells = (base.cell(values[key]) if key in values else base.row.get(key, _ABSENT) for key in columns)
        return [self.kind, *cells]

    def resolved(self, row: list[Hashable], columns: Sequence[str]) -> list[Hashable]:
        """Return the row without open cells."""
        assert self.base is not None
        try:
            return [self.kind, *self.base.resolve(self.values, columns)]
        except (HydraException, OmegaConfBaseException, TrainctlError):  # the job itself shows it when it is composed
            return [*row, self.words]


def _columns(placed: Sequence[_Placed]) -> list[str]:
    """Return the keys that may differ between jobs."""
    bases = {each.base for each in placed if each.base is not None}
    found = {key for each in placed for key in each.values}
    every = {key for base in bases for key in base.row}
    found.update(key for key in every if len({base.row.get(key, _ABSENT) for base in bases}) > 1)
    if not all(base.counts(key) for base, key in {(each.base, key) for each in placed for key in each.values} if base):
        # what does not count itself may show where another key refers to it
        found.update(key for base in bases for key, cell in base.row.items() if cell == _OPEN)
    return sorted(found)


def _is_open(value: Any) -> bool:
    return _OPEN in (value if isinstance(value, str) else repr(value))


def _set(config: DictConfig, lines: Iterable[_Line]) -> None:
    for line in lines:
        OmegaConf.update(config, line.key, line.value, merge=True, force_add=True)
