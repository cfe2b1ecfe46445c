"""Which objects of PyTorch `live.bind` takes: optimizers by their options, modules by their attributes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

from trainctl.errors import SettingError
from trainctl.frameworks.optimizer import OptimizerBinding
from trainctl.frameworks.options import inner
from trainctl.session.binding import AttributeBinding, place_of, value_of
from trainctl.session.values import Now

logger = logging.getLogger(__name__)


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
