"""The interface of trackers, and the data of a run that they get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from trainctl.config import yaml
from trainctl.errors import TrainctlError
from trainctl.rundir.fields import as_float
from trainctl.rundir.status import State

NAMES = ("mlflow", "tensorboard", "wandb")
FINISHED: tuple[State, ...] = ("done",)
KILLED: tuple[State, ...] = ("interrupted", "stopped")
_LONGEST_REASON = 400


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of a run when a tracker opens it, without secrets.

    Attributes:
        name: of the run dir.
        group: the name of the sweep dir.
        config: at the start, by dotted key.
        document: the same as a typed YAML document.
        url: of its page, without the token.
        argv_is_secret: whether the command line of this process has what is left out here.
    """

    name: str
    group: str
    config: dict[str, Any]
    document: str
    overrides: list[str]
    url: str | None
    argv_is_secret: bool = False


@dataclass(frozen=True, slots=True)
class MetricRecord:
    """Metrics of one call of `live.log`: numbers, texts, lists. `t` is in Unix seconds."""

    step: int
    t: float
    values: dict[str, Any]

    @property
    def numbers(self) -> dict[str, float]:
        """The values that have a curve."""
        return {name: float(as_float(value)) for name, value in self.values.items() if isinstance(value, int | float)}


@dataclass(frozen=True, slots=True)
class ValueChange:
    """The values of some keys from a step on; at step 0 those before the first edit of each. `t` as in `Record`.

    `said` has all values of these keys so far, as text: `0.1 → 0.001 @1500`.
    """

    step: int
    t: float
    values: dict[str, Any]
    note: str | None
    said: Mapping[str, str] = field(default_factory=dict)

    @property
    def numbers(self) -> dict[str, float]:
        """The values that have a curve, by `hparams/<key>`."""
        numbers = {key: value for key, value in self.values.items() if isinstance(value, int | float)}
        return {f"hparams/{key}": float(as_float(value)) for key, value in numbers.items()}

    @property
    def texts(self) -> dict[str, str]:
        """The other values but null, by `hparams/<key>`."""
        return {
            f"hparams/{key}": value if isinstance(value, str) else yaml.inline(value)
            for key, value in self.values.items()
            if value is not None and not isinstance(value, int | float)
        }


def said(error: Exception) -> str:
    """Return an error in one line: errors of trainctl are sentences, those of libraries get their class in front.

    >>> said(TrainctlError("its run was deleted")), said(OSError("no space left"))
    ('its run was deleted', 'OSError: no space left')
    """
    text = " ".join(str(error).split())[:_LONGEST_REASON]
    return text if isinstance(error, TrainctlError) else f"{type(error).__name__}: {text}"


class Tracker(Protocol):
    """One run on one tracker. Every method may raise whatever its library raises: it is then called again, later.

    Called by one thread. A call that is repeated must not do twice what it had done already. Beside it its module has
    `make(run)`, `task_has_run()`: whether the task has one open in this process, and `has_all(run, kept)`: whether all
    that was sent until then is still there, for `trainctl sync`.
    """

    has_lost_all: bool
    """After `open`: whether nothing is there of what it was sent before, so that it is to be sent all again."""

    is_attached: bool
    """After `open`: whether the task has opened the run, which it then logs to itself."""

    @property
    def is_over(self) -> bool:
        """Whether the task has ended the run that it opened: it takes no more, and nothing is missing in it."""

    def open(self, facts: Facts, kept: Mapping[str, Any]) -> dict[str, Any]:
        """Open the run, or the one that the process has open already, and send config and overrides.

        Args:
            facts: of the run.
            kept: what an earlier `open` of this run returned; has at least `key`, a text that is this run's own, and
                `live`: whether this is the process that trains.

        Returns: what is needed to find the run on the tracker again, as plain values.
        """

    def metrics(self, records: Sequence[MetricRecord]) -> None: ...

    def changes(self, changes: Sequence[ValueChange]) -> None: ...

    def rewind(self, step: int) -> bool:
        """What was sent of later steps is superseded: the run went on from a checkpoint of this step.

        Returns: whether edits of later steps are gone from the tracker with it.
        """

    def changelog(self, text: str) -> None:
        """Replace the run's changelog."""

    def end(self, state: State, reason: str | None) -> None: ...

    def kept(self) -> dict[str, Any]:
        """Return what `open` returned, as it is now."""

    def address(self) -> str | None:
        """Return the address at which users find the run."""

    def close(self) -> None:
        """Release everything; never raises."""
