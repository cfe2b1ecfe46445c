"""Binding PyTorch objects with `live.bind`: optimizers by their options, modules by their attributes."""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from trainctl.config.values import is_number
from trainctl.errors import EditError, SettingError
from trainctl.frameworks.rates import Rates
from trainctl.frameworks.schedules import inner, share, write
from trainctl.session.binding import AttributeBinding, place_of, value_of
from trainctl.session.values import Now

logger = logging.getLogger(__name__)
_OWN = ("scheduler", "mode", "log")
_IN_RATIO = ("lr", "weight_decay")


def bind(target: Any, path: tuple[str, ...], options: dict[str, Any], *, now: Now, log: Callable[..., object]) -> Any:
    """Return the binding of an optimizer (`lr="optim.lr", …`) or of a module's attribute (`"dropout.p", "key"`).

    Raises:
        SettingError: what is asked for cannot be bound.
    """
    if isinstance(target, torch.optim.Optimizer):
        if path:
            raise SettingError(
                f"live.bind({type(target).__name__}, {path[0]!r}, …): the options of an optimizer are bound by their "
                'names, such as live.bind(optimizer, lr="optim.lr")'
            )
        return OptimizerBinding(inner(target), options, now=now, log=log)
    if options:
        raise SettingError(
            f"live.bind({type(target).__name__}, {next(iter(options))}=…): only an optimizer has options to bind; "
            'an attribute is bound by live.bind(module, "attribute", "key")'
        )
    return _attribute(target, path, now)


class BufferBinding:
    """Fills a tensor in place, so that compiled code and CUDA graphs see the new value without being compiled again."""

    def __init__(self, owner: Any, name: str, key: str) -> None:
        self._owner, self._name, self._key = owner, name, key

    def __call__(self, now: Now) -> None:
        buffer = getattr(self._owner, self._name)
        with torch.no_grad():
            buffer.copy_(torch.as_tensor(value_of(now, self._key), dtype=buffer.dtype))

    def check_values(self, now: Now) -> None:
        """Refuse values that the tensor cannot hold, before they are in effect.

        Raises:
            SettingError, TypeError, ValueError, RuntimeError: no value, no number, or not of the tensor's shape.
        """
        buffer = getattr(self._owner, self._name)
        torch.as_tensor(value_of(now, self._key), dtype=buffer.dtype).expand(buffer.shape)


def is_compiled(module: Any) -> bool:
    """Whether `torch.compile(module)` returned it, or `compile()` was called on it or on a part of it."""
    return hasattr(module, "_orig_mod") or any(
        getattr(part, "_compiled_call_impl", None) is not None for part in module.modules()
    )


def _attribute(target: Any, path: tuple[str, ...], now: Now) -> AttributeBinding | BufferBinding:
    owner, name, key = place_of(getattr(target, "_orig_mod", target), path, now)
    value = getattr(owner, name)
    if isinstance(value, torch.nn.Parameter | torch.nn.Module):
        raise SettingError(
            f"live.bind(…, {path[0]!r}): a {type(value).__name__} cannot follow a key; allowed are plain attributes, "
            "such as dropout.p, and tensors that are not parameters"
        )
    if isinstance(value, torch.Tensor):
        return BufferBinding(owner, name, key)
    if isinstance(target, torch.nn.Module) and is_compiled(target):
        logger.warning(
            "%s follows %s, but is a Python attribute of a compiled module: each edit compiles it again; "
            "a tensor (register_buffer) in its place would be filled without that",
            *(path[0], key),
        )
    return AttributeBinding(owner, name, key)


class OptimizerBinding:
    """Keeps options of an optimizer equal to keys of the config; called with `live.now`, it takes them over.

    `lr` and `weight_decay` are set in proportion: each parameter group keeps the ratio to the key's value that it had
    when it was bound, so a group without decay stays without. Other options are the same in all groups. An option is
    left alone until its key has changed. Options that are tensors are filled in place.

    What a scheduler does to the learning rate, and how an edit of it goes together with that, is described in `Rates`.

    Attributes:
        optimizer: the bound optimizer.
        lr: the learning rate of each group as the next `optimizer.step()` will use it.
    """

    def __init__(self, optimizer: Any, options: Mapping[str, Any], *, now: Now, log: Callable[..., object]) -> None:
        self.optimizer = optimizer
        own = {name: options[name] for name in _OWN if name in options}
        self._keys = {name: key for name, key in options.items() if name not in own}
        _check(optimizer, self._keys)
        self._values = {name: _checked(optimizer, name, key, value_of(now, key)) for name, key in self._keys.items()}
        self._first = dict(self._values)
        self._starts: list[float] = []
        if "weight_decay" in self._keys:
            self._starts = _decays(optimizer, self._keys["weight_decay"], self._first["weight_decay"])
        self._rates: Rates | None = None
        if "lr" in self._keys:
            self._rates = Rates(optimizer, self._keys["lr"], self._values["lr"], emit=log, **own)
        elif own:
            raise SettingError(
                f"live.bind(optimizer, {next(iter(own))}=…) is about the learning rate; give lr= as well"
            )
        self._constant = [name for name in self._keys if name not in _IN_RATIO]
        if self._constant:
            optimizer.register_step_pre_hook(self._hold)

    @property
    def lr(self) -> list[float]:
        return self._rates.effective() if self._rates else [float(group["lr"]) for group in self.optimizer.param_groups]

    def check_values(self, now: Now) -> None:
        """Refuse values that the options cannot take, before they are in effect.

        Raises:
            EditError: as `__call__`.
        """
        for name, key in self._keys.items():
            _checked(self.optimizer, name, key, value_of(now, key))

    def __call__(self, now: Now) -> None:
        for name, key in self._keys.items():
            value = _checked(self.optimizer, name, key, value_of(now, key))
            if value == self._values[name]:
                continue
            self._values[name] = value
            if name == "lr" and self._rates is not None:
                self._rates.set(value)
            else:
                self._write(name)

    def _write(self, name: str) -> None:
        """Set an option in all groups, in those that were added since it was bound too."""
        value = self._values[name]
        for index, options in enumerate(self.optimizer.param_groups):
            if name == "weight_decay" and index < len(self._starts):
                write(options, name, share(self._starts[index], self._first[name], value))
            else:
                write(options, name, value)

    def _hold(self, *_: object) -> None:
        """Set again what a scheduler has overwritten: OneCycleLR and CyclicLR move momentum and betas at each step."""
        for name in self._constant:
            if self._values[name] != self._first[name]:
                self._write(name)


def _decays(optimizer: Any, key: str, value: float) -> list[float]:
    """Return each group's weight decay relative to the value of the key.

    Raises:
        SettingError: the value is 0 and a group's is not.
    """
    starts = [float(options["weight_decay"]) for options in optimizer.param_groups]
    if value == 0 and any(starts):
        raise SettingError(f"{key} is 0 now, and weight decays of {starts} have no ratio to that; begin with another")
    return starts


def _check(optimizer: Any, keys: Mapping[str, Any]) -> None:
    allowed = [name for name, value in optimizer.param_groups[0].items() if _is_number(value) or _are_numbers(value)]
    for name, key in keys.items():
        if name not in allowed or not isinstance(key, str):
            close = difflib.get_close_matches(name, allowed, n=1)
            hint = f"; {close[0]!r} is close to it" if close and name not in allowed else ""
            raise SettingError(
                f"live.bind({type(optimizer).__name__}, {name}={key!r}): an option takes the key to follow{hint}; "
                f"options are {', '.join(sorted(allowed))}, beside scheduler, mode and log"
            )
    if not keys:
        raise SettingError(
            f'live.bind({type(optimizer).__name__}) binds nothing; give options and keys, such as lr="optim.lr"; '
            f"options are {', '.join(sorted(allowed))}"
        )


def _checked(optimizer: Any, name: str, key: str, value: Any) -> Any:
    """Return the value as the optimizer takes it: a list as a tuple.

    Raises:
        EditError: it is not a finite number, or not as many as the option has.
    """
    present = optimizer.param_groups[0][name]
    values = value if isinstance(value, list) and isinstance(present, tuple) else [value]
    count = len(present) if isinstance(present, tuple) else 1
    if len(values) == count and all(_is_number(each) and math.isfinite(each) for each in values):
        return tuple(values) if isinstance(present, tuple) else value
    allowed = f"lists of {count} finite numbers" if isinstance(present, tuple) else "finite numbers"
    raise EditError(f"{key}={value!r} cannot be the {name} of a {type(optimizer).__name__}; allowed are {allowed}")


def _is_number(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return bool(value.numel() == 1)
    return is_number(value)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(map(_is_number, value))
