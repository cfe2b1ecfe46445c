"""The parameters in which runs differ, and the heads of columns."""

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
        """Whether `get` tells the value: a run that still waits has no config yet, only what was overridden."""
        return bool(self._config) or key in self.overridden

    def is_own(self, key: str) -> bool:
        """Whether the value is no parameter but tells of this run alone: its own directory, or text still to be filled.

        Such texts are the commands of `trainctl run`, what Hydra's record has of an interpolation, and `???`.

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
            text = self.overridden[key]
            try:
                return yaml.loads(text)
            except ValueError:
                return text
            except Exception:  # noqa: BLE001  # Hydra's grammar is not YAML's: what is no YAML is shown as written
                return text
        return self._choices.get(key)


def parameters(runs: Sequence[Parameters]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Return the parameters in which runs differ, with each run's value, and those that are the same in all.

    A run that has no config (yet) does not make the others differ. Overridden keys come first. What lies below a swept
    config group is left out, the group says it; and so are our own settings, but for those that were overridden and
    change what comes out (the seed, a replay); and so is what tells of the run alone, in all runs that know it.
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
            constant[key] = known[0]
        elif key in overridden or not any(key.startswith((f"{above}.", f"{_place(above)}.")) for above in differing):
            differing[key] = values
    return differing, constant


def at_end(constants: Mapping[str, Any], ends: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what is the same in all runs as it was at their ends; what edits have made differ is left out.

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
