"""Columns of tables: the parameters in which runs differ, heads, and the text of cells."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from trainctl.config import yaml
from trainctl.config._omegaconf import MISSING
from trainctl.config.identity import OWN_KEYS_THAT_COUNT
from trainctl.config.keys import is_within
from trainctl.config.overrides import parse_override
from trainctl.text import clean, number

_INTERPOLATION = re.compile(r"(?<!\\)\$\{")

SEEDS = ("seed", "trainctl.seed")


def varying(overrides: Sequence[Sequence[str]]) -> dict[str, list[str | None]]:
    """Return the keys in which the runs differ, in order of first appearance, with each run's value as it was written.

    A key that a run did not override has the value None there; one that it deleted (`~key`) has the value `~`.

    >>> varying([["norm=new", "lr=0.1"], ["norm=batch", "lr=0.1"]])
    {'norm': ['new', 'batch']}
    """
    runs = [dict(map(pair, run)) for run in overrides]
    keys = dict.fromkeys(key for run in runs for key in run)
    columns = {key: [run.get(key) for run in runs] for key in keys}
    return {key: values for key, values in columns.items() if len(set(values)) > 1}


def pair(override: str) -> tuple[str, str]:
    """Split an override into key and value, without its prefix.

    >>> pair("++optim.lr=0.1"), pair("~optim")
    (('optim.lr', '0.1'), ('optim', '~'))
    """
    key, _, value = override.partition("=")
    return (key[1:], "~") if key.startswith("~") else (key.lstrip("+"), value)


_MOST_PARSED = 1_000  # characters: Hydra's parser takes up to 0.1 ms for each


def given_value(text: str) -> Any:
    """Return the value that Hydra reads in an override; a text that is none, such as a record of another tool's, as is.

    >>> given_value("{lr:1e-3,name:a}"), given_value("'1'"), given_value("~"), given_value("[oh")
    ({'lr': 0.001, 'name': 'a'}, '1', None, '[oh')
    """
    if text == "~":  # the key is deleted
        return None
    if len(text) > _MOST_PARSED:
        return text
    try:
        override = parse_override(f"_={text}")
        return text if override.is_sweep_override() else override.value()
    except Exception:  # noqa: BLE001  # files of runs are outside input: what Hydra cannot read is shown as written
        return text


def is_seed(key: str) -> bool:
    """Whether runs that differ only in this key are repetitions.

    >>> is_seed("trainctl.seed"), is_seed("data.seed"), is_seed("seeds")
    (True, True, False)
    """
    return key.rpartition(".")[2] in SEEDS


def same(value: Any) -> Any:
    """Return what equal values have in common, whatever they are: 1 and 1.0 are equal, 1 and true are not.

    >>> same(1) == same(1.0), same(1) == same(True), same([1]) == same([1.0])
    (True, False, True)
    """
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return (type(value).__name__, value)
    if isinstance(value, int | float):
        return ("number", "nan" if value != value else value)  # noqa: PLR0124  # nan equals nothing
    if isinstance(value, list | tuple):
        return ("list", tuple(map(same, value)))
    if isinstance(value, Mapping):
        return ("mapping", frozenset((str(key), same(inner)) for key, inner in value.items()))
    return (type(value).__name__, str(value))


class Parameters:
    """The parameters of one run: its config at the start, and what was overridden that is not a value of the config.

    Args:
        config: the leaves of the config by dotted key.
        overrides: as Hydra writes them.
        choices: which option of each config group was taken.
        place: the run dir.
    """

    __slots__ = ("_choices", "_config", "_place", "overridden")

    def __init__(
        self, config: Mapping[str, Any], overrides: Iterable[str], choices: Mapping[str, Any], place: Path = Path()
    ) -> None:
        self._config, self._choices, self._place = config, choices, place
        self.overridden = dict(map(pair, overrides))

    @property
    def keys(self) -> list[str]:
        """What was overridden, then the config's own keys, each in their order."""
        return list(dict.fromkeys([*self.overridden, *self._config]))

    def knows(self, key: str) -> bool:
        """Whether `get` knows the value: a run that still waits has no config yet, only what was overridden."""
        return bool(self._config) or key in self.overridden

    def has(self, key: str) -> bool:
        return key in self._config or key in self.overridden or key in self._choices

    def is_own(self, key: str) -> bool:
        """Whether the value is not a parameter but specific to this run: a path in its own directory, or a template.

        Templates are the commands of `trainctl run`, interpolations in Hydra's record, and `???`.

        >>> run = Parameters({"out": "/x/outputs/train/Lr_1/ckpt", "n": "a/b"}, [], {}, Path("/x/outputs/train/Lr_1"))
        >>> run.is_own("out"), run.is_own("n")
        (True, False)
        """
        value = self._config.get(key)
        if value == MISSING:
            return True
        if key in self.overridden or not isinstance(value, str):
            return False
        if key.startswith("commands.") or _INTERPOLATION.search(value):
            return True
        parts, own = PurePath(value).parts, self._place.parts[-2:]
        return len(own) == 2 and any(parts[at : at + 2] == own for at in range(len(parts) - 1))

    def get(self, key: str) -> Any:
        """Return a parameter's value; None when this run does not have it."""
        if key in self._config:
            value = self._config[key]
            return None if value == MISSING else value
        if key in self.overridden:
            return given_value(self.overridden[key])
        return self._choices.get(key)


def parameters(runs: Sequence[Parameters]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Return the parameters in which runs differ, with each run's value, and those that are the same in all.

    A run that has no config (yet) does not make the others differ. Overridden keys come first. Left out are keys below
    a swept config group whose option tells their value; settings of trainctl, except overridden ones that change the
    result (the seed, a replay); values that are specific to each run; and a null that some runs do not have.
    """
    overridden = dict.fromkeys(key for run in runs for key in run.overridden)
    differing: dict[str, list[Any]] = {}
    constant: dict[str, Any] = {}
    for key in dict.fromkeys([*overridden, *(key for run in runs for key in run.keys)]):
        is_ours = key.partition(".")[0] in ("trainctl", "hydra")
        if is_ours and not (key in overridden and is_within(key, OWN_KEYS_THAT_COUNT)):
            continue
        if all(run.is_own(key) for run in runs if run.knows(key)):
            continue
        values = [run.get(key) for run in runs]
        known = [value for value, run in zip(values, runs, strict=True) if run.knows(key)]
        if len(set(map(same, known))) == 1:
            if known[0] is not None or all(run.has(key) for run in runs if run.knows(key)):
                constant[key] = known[0]
        elif key in overridden or not any(
            _tells([option for option, run in zip(options, runs, strict=True) if run.knows(key)], known)
            for above, options in differing.items()
            if key.startswith((f"{above}.", f"{_place(above)}."))
        ):
            differing[key] = values
    return differing, constant


def _tells(options: Sequence[Any], values: Sequence[Any]) -> bool:
    """Whether each option of a config group comes with one value.

    >>> _tells(["sgd", "adam", "sgd"], [0.1, 0.01, 0.1]), _tells(["sgd", "adam", "sgd"], [0.1, 0.01, 0.5])
    (True, False)
    """
    pairs = {(same(option), same(value)) for option, value in zip(options, values, strict=True)}
    return len(pairs) == len({option for option, _ in pairs})


def at_end(constants: Mapping[str, Any], ends: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the constants as they were at the end of the runs, without those that edits have made differ.

    >>> at_end({"lr": 0.1, "wd": 0.0, "steps": 9}, [{"lr": 0.5, "wd": 1.0}, {"wd": 1.0}])
    {'wd': 1.0, 'steps': 9}
    """
    values = {key: [end.get(key, value) for end in ends] for key, value in constants.items()}
    return {key: known[0] for key, known in values.items() if len(set(map(same, known))) == 1}


def apart(head: str, taken: Collection[str], kind: str, *, parts: Sequence[str] = ("",)) -> str:
    """Return a column's head that no other column has; nor, with `parts` after it, those that belong to it.

    >>> apart("lr", ["run"], "metric"), apart("lr", ["lr"], "metric"), apart("lr", ["lr", "lr (metric)"], "metric")
    ('lr', 'lr (metric)', 'lr (metric 2)')
    """
    names = itertools.chain([head, f"{head} ({kind})"], (f"{head} ({kind} {at})" for at in itertools.count(2)))
    return next(name for name in names if not any(name + part in taken for part in parts))


def _place(group: str) -> str:
    """Return where a config group is put: `db/mysql@target` at `target`, `db/mysql` at `db.mysql`."""
    return group.rpartition("@")[2].replace("/", ".")


_MOST_CONSTANTS = 40
_SHORT = (1e-12, 1e12)  # deviations between these are written without an exponent


def exact(value: Any) -> str:
    """Write a number by its `repr`, text as it stands, a missing value as nothing, anything else as YAML."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if type(value) in (int, float):
        return repr(value)
    try:
        return yaml.inline(value)
    except Exception:  # noqa: BLE001  # whatever a parser has found: what YAML does not know is shown by its text
        return str(value)


def plain(value: Any) -> str:
    """Write any value exactly, on one line: the parameters that tell two rows apart."""
    return clean(exact(value))


def short(value: Any) -> str:
    """Write a float in four significant digits, anything else exactly, on one line."""
    return number(value) if isinstance(value, float) else plain(value)


def mean_text(mean: float | None, deviation: float | None, sign: str = "±") -> str:
    """Write mean and deviation in the digits that the deviation leaves meaningful.

    >>> mean_text(0.97123, 0.0042), mean_text(1.6, 0.0999999), mean_text(12.0, None)
    ('0.9712 ± 0.0042', '1.60 ± 0.10', '12')
    """
    if mean is None or deviation is None:
        return short(mean)
    if not _SHORT[0] <= deviation < _SHORT[1]:
        return f"{number(mean)} {sign} {deviation:.2g}"
    digits = max(0, 1 - int(f"{deviation:.1e}".partition("e")[2]))
    return f"{mean:.{digits}f} {sign} {deviation:.{digits}f}"


def constants_line(constants: Mapping[str, Any]) -> str:
    """Write the parameters that are the same in all runs on one line; empty when there are none.

    >>> constants_line({"steps": 9, "ckpt_path": None})
    'the same in all: steps=9, ckpt_path=null'
    """
    pairs = [f"{clean(key)}={'null' if value is None else plain(value)}" for key, value in constants.items()]
    more = f", and {len(pairs) - _MOST_CONSTANTS} more" if len(pairs) > _MOST_CONSTANTS else ""
    return f"the same in all: {', '.join(pairs[:_MOST_CONSTANTS])}{more}" if pairs else ""
