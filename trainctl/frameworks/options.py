"""The options of one parameter group of a PyTorch optimizer: their parts of a key's value, and how they are written."""

from __future__ import annotations

from typing import Any

import torch


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
