"""Which options of two config groups work together, and how the config of such a pair is adapted."""

from __future__ import annotations

import fnmatch
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from trainctl.config._omegaconf import copy_sharing
from trainctl.config.given import check_missing, restore_given, restore_leaves
from trainctl.config.overrides import task_overrides
from trainctl.errors import IncompatibleError, PairError

Configure = Callable[[DictConfig], Any]
_Function = TypeVar("_Function", bound=Configure)
Over = Literal["files", "command_line"]
Fit = Literal["as is", "adapted", "not compatible"]

PAIR_NODE = "trainctl_pair"  # below hydra.runtime: which pair a config was adapted to, and the keys that it has set

_GLOB = "*?["


@dataclass(frozen=True, slots=True)
class _Rule:
    first: str
    second: str
    configure: Configure | None

    def fits(self, first: str, second: str) -> bool:
        return fnmatch.fnmatchcase(first, self.first) and fnmatch.fnmatchcase(second, self.second)

    def weight(self) -> tuple[int, int]:
        """Return the specificity of a rule: names before patterns, then patterns with more letters."""
        exact = sum(not set(_GLOB) & set(name) for name in (self.first, self.second))
        return exact, sum(character not in _GLOB for character in self.first + self.second)

    def __str__(self) -> str:
        return f"({self.first}, {self.second})"


class Pairs:
    """A registry of the pairs of options that work together, and of the changes each pair needs.

    Values set by a pair's function override defaults and files, but not the command line, unless the pair is registered
    with `over="command_line"`.

    >>> pairs = Pairs("task", "model")
    >>> @pairs.register("digits_sequence", "rnn")
    ... def configure(cfg):
    ...     cfg.model.inputs = cfg.task.width
    >>> pairs.allow("digits*", "mlp")
    >>> pairs.fit("digits_sequence", "rnn"), pairs.fit("digits", "mlp"), pairs.fit("digits", "rnn")
    ('adapted', 'as is', 'not compatible')

    Args:
        first: name of a config group, such as `task`.
        second: name of the other, such as `model`.
        over: what a pair's values win over: `files`, or the `command_line` too.

    Raises:
        PairError: `over` is something else.
    """

    def __init__(self, first: str, second: str, *, over: Over = "files") -> None:
        if over not in ("files", "command_line"):
            raise PairError(f"over={over!r}: a pair stands over 'files' or over the 'command_line' too")
        self.groups = (first, second)
        self.over: Over = over
        self._rules: dict[tuple[str, str], _Rule] = {}

    def allow(self, first: str, second: str) -> None:
        """Declare that options work together unchanged; both may be patterns with `*`.

        Raises:
            PairError: the same pair was registered or allowed before.
        """
        self._add(_Rule(first, second, None))

    def register(self, first: str, second: str) -> Callable[[_Function], _Function]:
        """Declare that options work together once the decorated function has changed the config, in place or by result.

        Raises:
            PairError: the same pair was registered or allowed before.
        """

        def add(configure: _Function) -> _Function:
            self._add(_Rule(first, second, configure))
            return configure

        return add

    def _add(self, rule: _Rule) -> None:
        if (rule.first, rule.second) in self._rules:
            raise PairError(f"the pair {rule} of {' and '.join(self.groups)} is there already")
        self._rules[rule.first, rule.second] = rule

    def fit(self, first: str, second: str) -> Fit:
        """Return whether and how two options work together.

        Raises:
            PairError: two patterns that say equally much fit.
        """
        rule = self._rule(first, second)
        if rule is None:
            return "not compatible"
        return "as is" if rule.configure is None else "adapted"

    def matrix(self, firsts: Iterable[str], seconds: Sequence[str]) -> dict[str, dict[str, Fit]]:
        """Return how each option of the first group works with each option of the second."""
        return {first: {second: self.fit(first, second) for second in seconds} for first in firsts}

    def _rule(self, first: str, second: str) -> _Rule | None:
        """Return the most specific rule for a pair."""
        fitting = sorted((rule for rule in self._rules.values() if rule.fits(first, second)), key=_Rule.weight)
        if len(fitting) > 1 and fitting[-1].weight() == fitting[-2].weight():
            raise PairError(
                f"{self._pair(first, second)} fits {fitting[-2]} and {fitting[-1]}, which say equally much; "
                "register the pair by its names"
            )
        return fitting[-1] if fitting else None

    def check(self, first: str, second: str) -> None:
        """Refuse two options that do not work together.

        Raises:
            IncompatibleError: naming the options of the second group that work with the first.
        """
        if self._rule(first, second) is not None:
            return
        known = sorted({rule.second for rule in self._rules.values() if fnmatch.fnmatchcase(first, rule.first)})
        others = (
            f"{self.groups[0]}={first} goes with {self.groups[1]}={', '.join(known)}"
            if known
            else (f"nothing is registered for {self.groups[0]}={first}")
        )
        raise IncompatibleError(f"{self._pair(first, second)} do not go together; {others}")

    def _pair(self, first: str, second: str) -> str:
        return f"{self.groups[0]}={first} and {self.groups[1]}={second}"

    def chosen(self, config: DictConfig, hydra: DictConfig | None = None) -> tuple[str, str]:
        """Return which options a config was composed with.

        Args:
            config: of the task.
            hydra: Hydra's node of that config; else each group's own `name`, or its text if it is not a mapping.

        Raises:
            PairError: it cannot be known.
        """
        first, second = (_option(group, config, hydra) for group in self.groups)
        return first, second

    def configure(self, config: DictConfig, hydra: DictConfig | None = None) -> DictConfig:
        """Return a config adapted to its pair; the given one stays as it is.

        Args:
            config: of the task, without Hydra's node.
            hydra: Hydra's node: choices and overrides; that of the running Hydra application if there is one. Without
                it nothing counts as given on the command line.

        Raises:
            IncompatibleError: the pair does not go together.
            PairError: its function failed.
            MissingError: values are missing afterwards (`???`).
        """
        if hydra is None and HydraConfig.initialized():
            hydra = HydraConfig.get()  # type: ignore[assignment]  # it is a config of that type
        adapted = self.adapt(config, hydra)
        adapted = adapted.copy() if adapted is config else adapted
        check_missing(adapted, f"{self._pair(*self.chosen(config, hydra))}: ")
        return adapted

    def adapt(self, config: DictConfig, hydra: DictConfig | None, kept: Sequence[str] = ()) -> DictConfig:
        """Return a config adapted to its pair; values may still be missing. It is the given one if that fits as it is.

        Args:
            config: of the task; it may have Hydra's node.
            hydra: Hydra's node.
            kept: keys of an earlier run's config (`+from=`): their values win over the pair's too.

        Raises:
            IncompatibleError: the pair does not go together.
            PairError: its function failed.
        """
        first, second = self.chosen(config, hydra)
        self.check(first, second)
        rule = self._rule(first, second)
        if rule is None or rule.configure is None:
            return config
        adapted = copy_sharing(config, "hydra")  # that is the larger part, and no pair changes it
        with read_write(adapted):
            adapted = self._adapted(rule.configure, adapted, self._pair(first, second))
        if self.over == "files" and hydra is not None:
            restore_leaves(adapted, config, kept)
            restore_given(adapted, config, task_overrides(hydra), list(hydra.runtime.choices))
        return adapted

    def said_of(self, config: DictConfig, hydra: DictConfig | None) -> str:
        """Name a config's pair and its function: `task=digits_sequence model=rnn (digits.for_rows)`."""
        first, second = self.chosen(config, hydra)
        rule = self._rule(first, second)
        function = None if rule is None else rule.configure
        by = "" if function is None else f" ({getattr(function, '__module__', '')}.{_name(function)})"
        return f"{self.groups[0]}={first} {self.groups[1]}={second}{by}"

    def _adapted(self, configure: Configure, config: DictConfig, pair: str) -> DictConfig:
        try:
            returned = configure(config)
        except Exception as error:
            sentence = (str(error).splitlines() or [""])[0]
            kind = "" if isinstance(error, OmegaConfBaseException) else f"{type(error).__name__}: "
            raise PairError(
                f"{pair}: their function {_name(configure)} failed: {kind}{sentence}{_place(error)}"
            ) from error
        if returned is None:
            return config
        if not isinstance(returned, DictConfig):
            raise PairError(
                f"{pair}: their function {_name(configure)} returned {type(returned).__name__}, not a config"
            )
        return returned


def _place(error: BaseException) -> str:
    """Return where in the user's function an error happened, since its traceback is not shown."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
    return f" ({frames[-1].filename} line {frames[-1].lineno})" if len(frames) > 1 else ""


def _name(function: Configure) -> str:
    return str(getattr(function, "__qualname__", function))


def _option(group: str, config: DictConfig, hydra: DictConfig | None) -> str:
    choices: Mapping[Any, Any] = {} if hydra is None else hydra.runtime.choices
    if choices.get(group) is not None:
        return str(choices[group])
    node = OmegaConf.select(config, group.replace("/", "."))
    name = node.get("name") if isinstance(node, DictConfig) else node
    if not isinstance(name, str):
        raise PairError(
            f"which option of the group {group} this is cannot be determined: Hydra chose none, and {group}.name is "
            "not set"
        )
    return name
