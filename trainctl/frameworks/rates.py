"""The learning rate of a PyTorch optimizer: its scheduler's value combined with live edits.

A scheduler computes the next learning rate from the one that it finds in the parameter groups (StepLR and most others)
or from the one that it started with (LambdaLR, OneCycleLR, CosineAnnealingWarmRestarts). An edit written into the
groups is multiplied on by the first kind and erased by the second. So the groups hold the rate that is used,
where other code may read it, and the scheduler's own rate is put back while the scheduler steps and into checkpoints.
This is right for every scheduler, and a checkpoint of optimizer and scheduler equals that of a run without edits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch

from trainctl.errors import SettingError
from trainctl.frameworks import schedules
from trainctl.frameworks.schedules import share, write

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
        self._depth = 0  # of the scheduler's steps that are on
        self._stepped = self._scheduler  # the one that has stepped last
        self._notice()
        optimizer.register_step_pre_hook(self._begin)
        optimizer.register_state_dict_post_hook(self._save)
        optimizer.register_load_state_dict_post_hook(self._loaded)
        schedules.follow_steps(optimizer, self, self._scheduler)

    def set(self, value: float) -> None:
        """Set a new value of the key."""
        schedules.wrap_steps()  # of classes that were defined since
        with self.lifted(self._stepped):
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

    @contextlib.contextmanager
    def lifted(self, scheduler: Any) -> Iterator[None]:
        """Let the groups hold what the scheduler says; after that they and the scheduler tell the rate that is used."""
        if self._depth == 0:
            self._stepped = scheduler
            self._notice()
            for group, options in self._pairs():
                group.lift(options)
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                for group, options in self._pairs():
                    group.lay(options)
                if hasattr(scheduler, "_last_lr"):
                    scheduler._last_lr = [_copied(options["lr"]) for options in self._optimizer.param_groups]

    def effective(self) -> list[float]:
        """Return the learning rate of each group that the next `optimizer.step()` will use."""
        self._hold()
        return [float(options["lr"]) for options in self._optimizer.param_groups]

    def _is_scheduled(self) -> bool:
        """Whether a scheduler has been made for the optimizer; it leaves its first value there."""
        return self._scheduler is not None or any("initial_lr" in options for options in self._optimizer.param_groups)

    def _notice(self) -> None:
        """Take in groups that were added since: as they are now they stand to the key's value, beside the others."""
        groups = self._optimizer.param_groups
        if not self._groups:
            self._groups = [_ParamGroup(self._beginning(index), self._value) for index in range(len(groups))]
        for options in groups[len(self._groups) :]:
            self._groups.append(self._groups[0].beside(options, groups[0], self._value))

    def _beginning(self, index: int) -> float:
        """Return the rate of a group that belongs to the key's value."""
        options = self._optimizer.param_groups[index]
        if self._mode == "base":
            return schedules.base(self._scheduler, index)
        return float(options.get("max_lr", options.get("initial_lr", options["lr"])))

    def _pairs(self) -> list[tuple[_ParamGroup, dict[str, Any]]]:
        return list(zip(self._groups, self._optimizer.param_groups, strict=True))

    def _hold(self) -> None:
        """Lay the edit over rates that the task has set by hand since: they are taken for a schedule's."""
        if len(self._groups) != len(self._optimizer.param_groups):
            self._notice()
        for group, options in self._pairs():
            group.hold(options)

    def _begin(self, *_: object) -> None:
        self._hold()
        if self._log is not None:
            self._say()

    def _save(self, optimizer: Any, state: dict[str, Any]) -> None:
        """Put the scheduler's rates into a checkpoint."""
        if self._depth == 0:
            self._hold()
            for group, saved in zip(self._groups, state["param_groups"], strict=False):
                saved["lr"] = group.scheduled(saved["lr"])

    def _loaded(self, optimizer: Any) -> None:
        """Lay the edit over the scheduler's rates, which a checkpoint has."""
        for group in self._groups:
            group.forget()
        self._notice()
        for group, options in self._pairs():
            group.lay(options)

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
    """One parameter group: how it stands to the key, and what is laid over its scheduled learning rate.

    The rate that is used is `times * rate + plus`: an edit that scales has no `plus`, one that pins has no `times`. A
    rate that is a tensor is filled in place, so that a captured graph sees an edit when it is replayed.
    """

    def __init__(self, start: float, first: float) -> None:
        self._start, self._first = start, first
        self._stands_for = first  # the key's value to which the scheduled rate belongs
        self._times, self._plus = 1.0, 0.0
        self._scheduled: Any = None  # the scheduler's rate, while another one is laid over it
        self._used: Any = None

    def beside(self, options: dict[str, Any], own: dict[str, Any], value: float) -> _ParamGroup:
        """Return the group of options that were added when this group had its own: their ratio is kept from then on."""
        new = _ParamGroup(float(options["lr"]), value or self._first)
        new._stands_for = self._stands_for
        if self._scheduled is not None:
            used = float(own["lr"])
            new._times, new._plus = self._times, (float(options["lr"]) if self._plus else 0.0)
            new._used = _copied(options["lr"])
            new._scheduled = _copied(options["lr"]) * (float(self._scheduled) / used if used else 1.0)
        return new

    def target(self, value: float) -> float:
        """Return the group's part of a value: it keeps the ratio with which it began."""
        return share(self._start, self._first, value)

    def stand_for(self, value: float) -> None:
        """Note that the rate in the group is now the one for this value."""
        self._stands_for = value

    def ask(self, value: float, *, is_pin: bool) -> None:
        """Take a value that is to be laid over the rate in the group."""
        if value == self._stands_for:
            self._times, self._plus = 1.0, 0.0
        elif is_pin or self._stands_for == 0:
            self._times, self._plus = 0.0, self.target(value)
        else:
            self._times, self._plus = value / self._stands_for, 0.0

    def lay(self, options: dict[str, Any]) -> None:
        """Put the rate that is used in the place of the scheduled one."""
        if (self._times, self._plus) != (1.0, 0.0):
            self._scheduled = _copied(options["lr"])
            write(options, "lr", self._times * options["lr"] + self._plus)
            self._used = _copied(options["lr"])

    def lift(self, options: dict[str, Any]) -> None:
        """Put the scheduled rate back, unless the task has set another one since: then that is the scheduled one."""
        if self._scheduled is not None and not self._is_set_by_hand(options):
            write(options, "lr", self._scheduled)
        self.forget()

    def hold(self, options: dict[str, Any]) -> None:
        """Lay the edit over a rate that the task has set by hand."""
        if self._scheduled is not None and self._is_set_by_hand(options):
            self.lay(options)

    def scheduled(self, rate: Any) -> Any:
        """Return the scheduled rate where `rate` is in the group."""
        return rate if self._scheduled is None else _copied(self._scheduled)

    def forget(self) -> None:
        """Let the rate in the group be the scheduled one."""
        self._scheduled = self._used = None

    def _is_set_by_hand(self, options: dict[str, Any]) -> bool:
        rate = options["lr"]
        if isinstance(rate, torch.Tensor) and rate.device.type != "cpu":
            return False  # looking would make the processor wait for the device at each step
        return bool(rate != self._used)


def _copied(rate: Any) -> Any:
    return rate.clone() if isinstance(rate, torch.Tensor) else rate
