"""Agreement by torch.distributed: bytes from rank 0 to all, over a separate process group on the CPUs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import torch

TIMEOUT = timedelta(minutes=30)  # how long a rank waits for rank 0, which speaks now and then while a run is paused

_INLINE = 24  # bytes that go with the length; a message that only says "nothing new" has no more


def make_agree() -> Callable[[bytes], bytes]:
    """Make a gloo group of all ranks and return a function by which rank 0's bytes get to all of them.

    All ranks must call both at the same time. The group is not the one by which gradients are exchanged, and holds no
    device.
    """
    ranks = torch.distributed
    group = ranks.new_group(backend="gloo", timeout=TIMEOUT)
    is_speaker = ranks.get_rank() == 0

    def agree(data: bytes) -> bytes:
        head = torch.zeros(1 + _INLINE // 8, dtype=torch.int64)
        if is_speaker:
            head[0] = len(data)
            head.view(torch.uint8)[8 : 8 + min(len(data), _INLINE)] = _tensor(data[:_INLINE])
        ranks.broadcast(head, src=0, group=group)
        length = int(head[0])
        first = bytes(head.view(torch.uint8)[8 : 8 + min(length, _INLINE)].tolist())
        if length <= _INLINE:
            return first
        rest = _tensor(data[_INLINE:]) if is_speaker else torch.empty(length - _INLINE, dtype=torch.uint8)
        ranks.broadcast(rest, src=0, group=group)
        return first + bytes(rest.tolist())

    return agree


def _tensor(data: bytes) -> torch.Tensor:
    return torch.tensor(list(data), dtype=torch.uint8)
