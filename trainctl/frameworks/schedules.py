"""The options of a PyTorch optimizer's groups, and the initial values of schedulers with how to replace them."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch.optim import lr_scheduler

from trainctl.errors import SettingError


def share(start: float, first: float, value: float) -> float:
    """Return a group's part of a new value: `start` stood beside `first` when it was bound, and that ratio stays."""
    if value == first:
        return start
    return value if start == first else value * (start / first)


def write(options: dict[str, Any], name: str, value: Any) -> None:
    """Set an option; tensors are filled, since a captured graph has their addresses."""
    present = options[name]
    if isinstance(present, torch.Tensor):
        present.copy_(value) if isinstance(value, torch.Tensor) else present.fill_(value)
    elif isinstance(present, tuple) and any(isinstance(each, torch.Tensor) for each in present):
        for each, new in zip(present, value, strict=True):
            each.fill_(new)
    else:
        options[name] = value


def inner(optimizer: Any) -> Any:
    """Return the optimizer that does the steps: Accelerate's and Lightning's wrap it."""
    while isinstance(getattr(optimizer, "optimizer", None), torch.optim.Optimizer):
        optimizer = optimizer.optimizer
    return optimizer


# Schedulers whose learning rate is proportional to the initial one.
_PROPORTIONAL = (
    lr_scheduler.ConstantLR,
    lr_scheduler.CyclicLR,
    lr_scheduler.ExponentialLR,
    lr_scheduler.LambdaLR,
    lr_scheduler.LinearLR,
    lr_scheduler.MultiplicativeLR,
    lr_scheduler.MultiStepLR,
    lr_scheduler.OneCycleLR,
    lr_scheduler.PolynomialLR,
    lr_scheduler.ReduceLROnPlateau,
    lr_scheduler.StepLR,
)
_COSINES = (lr_scheduler.CosineAnnealingLR, lr_scheduler.CosineAnnealingWarmRestarts)  # down to a floor that stays
_COMPOSED = (lr_scheduler.ChainedScheduler, lr_scheduler.SequentialLR)
_KNOWN = (*_PROPORTIONAL, *_COSINES, *_COMPOSED)


class Lifted(Protocol):
    """Gives a scheduler its own learning rates back for as long as it steps."""

    def lifted(self, scheduler: Any) -> AbstractContextManager[None]:
        """Give them back for the length of a `with` block."""


def follow_steps(optimizer: Any, follower: Lifted, scheduler: Any) -> None:
    """Let schedulers of an optimizer find their own rates in it when they step, those made later too.

    Args:
        optimizer: the one that they schedule.
        follower: what gives them back.
        scheduler: one that may be of any class; None for those of PyTorch's classes alone.
    """
    optimizer.__dict__.setdefault(_FOLLOWERS, []).append(follower)
    wrap_steps(type(scheduler))


_FOLLOWERS = "_trainctl_followers"  # an attribute of the optimizer, which neither pickles nor checkpoints take


def wrap_steps(*kinds: type[Any]) -> None:
    """Wrap `step` of all classes of schedulers that there are, and of others, once each.

    An optimizer does not know its schedulers, so their classes are changed, in a process that binds one. For the
    schedulers of other optimizers `step` does what it did.
    """
    waiting: list[type[Any]] = [lr_scheduler.LRScheduler, lr_scheduler.ReduceLROnPlateau, *kinds]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        for name in ("step", "step_update"):  # the second is timm's, for each batch
            step = vars(kind).get(name)
            if inspect.isfunction(step) and not hasattr(step, "_is_trainctl"):
                setattr(kind, name, _wrapped(step))


def _wrapped(step: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(step)
    def stepped(scheduler: Any, *args: Any, **options: Any) -> Any:
        with contextlib.ExitStack() as stack:
            followers: list[Lifted] = getattr(inner(getattr(scheduler, "optimizer", None)), _FOLLOWERS, [])
            for follower in followers:
                stack.enter_context(follower.lifted(scheduler))
            return step(scheduler, *args, **options)

    stepped._is_trainctl = True  # type: ignore[attr-defined]
    return stepped


def check(scheduler: Any) -> None:
    """Refuse a scheduler whose beginning cannot be changed.

    Raises:
        SettingError: there is none, or it is not one of PyTorch's own, or it chains one that has a floor.
    """
    if scheduler is None:
        raise SettingError('live.bind(optimizer, mode="base") changes a scheduler; give it as scheduler=')
    for part in [scheduler, *parts(scheduler)]:
        if type(part) not in _KNOWN:
            names = ", ".join(sorted(kind.__name__ for kind in _KNOWN))
            raise SettingError(
                f'live.bind(optimizer, mode="base") does not know {type(part).__name__}; with mode="scale" or "pin" '
                f"any scheduler goes, with base {names}"
            )
    chained = [*parts(scheduler)] if type(scheduler) is lr_scheduler.ChainedScheduler else []
    for part in chained:
        if getattr(part, "eta_min", 0) != 0:
            raise SettingError(
                f'live.bind(optimizer, mode="base"): a {type(part).__name__} with eta_min={part.eta_min} in a '
                'ChainedScheduler keeps no floor that could stay; use mode="scale"'
            )


def parts(scheduler: Any) -> list[Any]:
    """Return the single schedulers of a composed one, of others itself."""
    if type(scheduler) not in _COMPOSED:
        return [scheduler]
    return [part for inner in scheduler._schedulers for part in parts(inner)]


def base(scheduler: Any, index: int) -> float:
    """Return the initial rate of a group: OneCycleLR's peak, CyclicLR's bottom, else the optimizer's own rate."""
    groups = scheduler.optimizer.param_groups
    if "initial_lr" not in groups[0]:  # ReduceLROnPlateau alone does not keep it
        for options in groups:
            options["initial_lr"] = _number(options["lr"])
    name = "max_lr" if type(scheduler) is lr_scheduler.OneCycleLR else "initial_lr"
    return float(groups[index].get(name, groups[index]["lr"]))


def rebase(scheduler: Any, targets: list[float]) -> None:
    """Make a scheduler go on as though it had begun with other rates, one for each group.

    What it began with is read from where a checkpoint keeps it, so after a resume the same call changes nothing. A
    group that was added later has no beginning: it keeps its ratio to the first one.
    """
    groups = scheduler.optimizer.param_groups
    before = float(groups[0]["lr"])
    for index, target in enumerate(targets):
        if "initial_lr" in groups[index]:
            _begin_with(scheduler, index, target)
        elif before:
            groups[index]["lr"] = _changed(groups[index]["lr"], groups[index]["lr"] * float(groups[0]["lr"]) / before)


def _begin_with(scheduler: Any, index: int, target: float) -> None:
    options = scheduler.optimizer.param_groups[index]
    start = base(scheduler, index)
    factor = target / start
    if factor == 1:
        return
    options["lr"] = _changed(options["lr"], _rate_now(scheduler, index, factor))
    for name in ("initial_lr", "max_lr", "min_lr"):  # the last two are OneCycleLR's
        if name in options:
            options[name] = _changed(options[name], target if options[name] == start else options[name] * factor)
    for part in parts(scheduler):
        for name in ("base_lrs", "max_lrs"):
            rates = getattr(part, name, None)
            if rates is not None:
                rate = rates[index]
                rates[index] = _changed(rate, target if rate == start else rate * factor)


def _rate_now(scheduler: Any, index: int, factor: float) -> float:
    """Return the rate of this moment in the changed schedule."""
    part = scheduler
    while type(part) is lr_scheduler.SequentialLR:
        part = part._schedulers[sum(milestone <= part.last_epoch for milestone in part._milestones)]
    if type(part) not in _COSINES:
        return float(scheduler.optimizer.param_groups[index]["lr"]) * factor
    is_restarting = type(part) is lr_scheduler.CosineAnnealingWarmRestarts
    position, length = (part.T_cur, part.T_i) if is_restarting else (part.last_epoch, part.T_max)
    share = (1 + math.cos(math.pi * position / length)) / 2
    return float(part.eta_min + (float(part.base_lrs[index]) * factor - part.eta_min) * share)


def _number(rate: Any) -> Any:
    return rate.clone() if isinstance(rate, torch.Tensor) else rate


def _changed(present: Any, rate: Any) -> Any:
    return present.fill_(float(rate)) if isinstance(present, torch.Tensor) else rate
