"""The learning rate of a PyTorch optimizer: what its scheduler wants, and what a person has asked for since.

A scheduler computes the next learning rate from the one that it finds in the parameter groups (StepLR and most others)
or from the one that it started with (LambdaLR, OneCycleLR, CosineAnnealingWarmRestarts). An edit written into the
groups is multiplied on by the first kind and erased by the second. So nothing is written there: the groups hold what
the scheduler says, and the edit is laid over it for the time of each `optimizer.step()`. This is right for every
scheduler, and a checkpoint of optimizer and scheduler is the one of a run that was never edited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch

from trainctl.errors import SettingError
from trainctl.frameworks import schedules
from trainctl.frameworks.options import share, write

Mode = Literal["scale", "pin", "base"]
_MODES = ("base", "pin", "scale")


class Rates:
    """Lays edits of one key over the learning rates of an optimizer.

    Without a scheduler an edit is written into the groups, each in its ratio. With one, by `mode`:

    scale: the schedule goes on, times the ratio of the key's value to its first one.
    pin: a value other than the first is the learning rate, whatever the scheduler says; the first one gives it back.
    base: as though the schedule had begun with the new value; its floor (`eta_min`, `min_lr`) stays.

    Args:
        optimizer: whose groups.
        key: what the learning rate follows, for errors.
        value: the key's value now, to which the groups have their ratios.
        emit: called with the learning rates of a step, by metric name, when they have changed.
        scheduler: needed for `base`, and for ReduceLROnPlateau, which leaves no trace in the optimizer.
        mode: as above.
        log: the metric's name (with several groups `lr/0`, `lr/1`, …); None logs nothing.
    """

    def __init__(
        self,
        optimizer: Any,
        key: str,
        value: float,
        *,
        emit: Callable[..., object],
        scheduler: Any = None,
        mode: Mode = "scale",
        log: str | None = "lr",
    ) -> None:
        if mode not in _MODES:
            raise SettingError(f"live.bind(optimizer, mode={mode!r}) is not known; allowed are {', '.join(_MODES)}")
        if value == 0:
            raise SettingError(f"{key} is 0 now, and a parameter group has no ratio to that; begin with another value")
        self._optimizer, self._emit, self._mode, self._log = optimizer, emit, mode, log
        self._scheduler = getattr(scheduler, "scheduler", scheduler)  # Accelerate's wraps it
        self._value = value
        self._groups: list[_ParamGroup] = []
        self._emitted: dict[str, float] = {}
        if mode == "base":
            schedules.check(self._scheduler)
        self._notice()
        optimizer.register_step_pre_hook(self._begin)
        optimizer.register_step_post_hook(self._end)

    def set(self, value: float) -> None:
        """Take over a new value of the key."""
        self._notice()
        self._value = value
        if self._mode == "base":
            schedules.rebase(self._scheduler, [group.target(value) for group in self._groups])
            for group in self._groups:
                group.stand_for(value)
        elif not self._is_scheduled():
            for group, options in self._pairs():
                write(options, "lr", group.target(value))
                group.stand_for(value)
        for group in self._groups:
            group.ask(value, is_pin=self._mode == "pin")

    def effective(self) -> list[float]:
        """Return the learning rate of each group that the next `optimizer.step()` will use."""
        self._notice()
        return [group.over(float(options["lr"])) for group, options in self._pairs()]

    def _is_scheduled(self) -> bool:
        """Whether a scheduler has been made for the optimizer; it leaves its first value there."""
        return self._scheduler is not None or any("initial_lr" in options for options in self._optimizer.param_groups)

    def _notice(self) -> None:
        """Take in groups that were added since: they stand to the key's value as they are now."""
        for options in self._optimizer.param_groups[len(self._groups) :]:
            start = options.get("max_lr", options.get("initial_lr", options["lr"]))
            if self._mode == "base":
                start = schedules.base(self._scheduler, len(self._groups))
            self._groups.append(_ParamGroup(float(start), self._value, options["lr"]))

    def _pairs(self) -> list[tuple[_ParamGroup, dict[str, Any]]]:
        return list(zip(self._groups, self._optimizer.param_groups, strict=True))

    def _begin(self, *_: object) -> None:
        if len(self._groups) != len(self._optimizer.param_groups):
            self._notice()
        for group, options in self._pairs():
            group.begin(options)
        if self._log is not None:
            self._say()

    def _end(self, *_: object) -> None:
        for group, options in self._pairs():
            group.end(options)

    def _say(self) -> None:
        rates = {}
        for index, options in enumerate(self._optimizer.param_groups):
            rate = options["lr"]
            if isinstance(rate, torch.Tensor) and rate.device.type != "cpu":
                return  # reading it would make the processor wait for the device at each step
            rates[f"{self._log}/{index}" if len(self._groups) > 1 else str(self._log)] = float(rate)
        if rates != self._emitted:
            self._emitted = rates
            self._emit(rates)


class _ParamGroup:
    """One parameter group: how it stands to the key, and what is laid over its learning rate.

    The rate that is used is `times * rate + plus`: an edit that scales has no `plus`, one that pins has no `times`. For
    a rate that is a tensor both are tensors beside it, made before any graph is captured, so that a graph does the
    same arithmetic and sees an edit when it is replayed.
    """

    def __init__(self, start: float, first: float, rate: Any) -> None:
        self._start, self._first = start, first
        self._stands_for = first  # the key's value to which the scheduled rate belongs
        self._times, self._plus = 1.0, 0.0
        self._saved: Any = None
        self._used: Any = None
        self._tensors: Any = None
        if isinstance(rate, torch.Tensor):
            self._tensors = torch.ones_like(rate), torch.zeros_like(rate), torch.empty_like(rate)

    def target(self, value: float) -> float:
        """Return the group's part of a value: it keeps the ratio with which it began."""
        return share(self._start, self._first, value)

    def stand_for(self, value: float) -> None:
        """Note that the rate in the group is now the one for this value."""
        self._stands_for = value

    def ask(self, value: float, *, is_pin: bool) -> None:
        """Lay a value over the rate in the group."""
        if value == self._stands_for:
            self._times, self._plus = 1.0, 0.0
        elif is_pin or self._stands_for == 0:
            self._times, self._plus = 0.0, self.target(value)
        else:
            self._times, self._plus = value / self._stands_for, 0.0
        if self._tensors is not None:
            self._tensors[0].fill_(self._times)
            self._tensors[1].fill_(self._plus)

    def over(self, rate: float) -> float:
        """Return the rate that is used where the scheduler says `rate`."""
        return self._times * rate + self._plus

    def begin(self, options: dict[str, Any]) -> None:
        """Put the rate to use into the group, and keep the scheduled one."""
        self._take_back(options)
        rate = options["lr"]
        if self._tensors is not None:
            times, plus, saved = self._tensors
            saved.copy_(rate)
            rate.mul_(times).add_(plus)
            self._saved = saved
        elif (self._times, self._plus) != (1.0, 0.0):
            self._saved = rate
            self._used = options["lr"] = self.over(rate)

    def end(self, options: dict[str, Any]) -> None:
        """Put the scheduled rate back."""
        if self._saved is not None:
            write(options, "lr", self._saved)
            self._saved = None

    def _take_back(self, options: dict[str, Any]) -> None:
        """Undo what a step that raised has left in the group, unless it was changed since."""
        if self._saved is not None and (self._tensors is not None or options["lr"] == self._used):
            write(options, "lr", self._saved)
        self._saved = None
