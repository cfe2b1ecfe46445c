"""The slots that an engine's devices make on one node."""

from __future__ import annotations

import os
import socket

from trainctl.errors import SettingError
from trainctl.launch.slots.cores import usable_cores
from trainctl.launch.slots.devices import CUDA, HIP, ROCR, ZE, words_of
from trainctl.launch.slots.slot import CPU, Slot
from trainctl.launch.slots.threads import thread_environment


def slots_here(gpus_per_job: int | None = None, jobs_per_gpu: int | None = None, nodes: int = 1) -> list[Slot]:
    """Return the slots that the devices given to this process make; without devices one, of all its cores.

    An allocation of several nodes is one slot, whose job starts its ranks on the others by itself.

    The engine names the devices in one or more variables (`CUDA_VISIBLE_DEVICES`, `ROCR_VISIBLE_DEVICES`, …); a slot
    has its share of each of these lists.

    Raises:
        SettingError: there are fewer devices than a job is to have.
    """
    given = {name: words_of(os.environ.get(name, "")) for name in (CUDA, HIP, ROCR, ZE)}
    names = next(filter(None, given.values()), [])
    given = {name: words for name, words in given.items() if words and len(words) == len(names)}
    size, node = len(names) if nodes > 1 else gpus_per_job or 1, socket.gethostname().partition(".")[0]
    if 0 < len(names) < size or (not names and gpus_per_job):
        raise SettingError(f"hydra.launcher.gpus_per_job={size}, but the allocation on {node} has {len(names)}")
    parts = [slice(start, start + size) for start in range(0, len(names) - size + 1, size or 1) if names] * (
        jobs_per_gpu or 1
    )
    cores = usable_cores()
    threads = thread_environment(max(1, len(parts)), cores, os.environ)
    if not parts:
        return [Slot(f"{node}:{CPU}", (), 0, threads, shown={}, nodes=nodes)]
    return [
        Slot(
            f"{node}:{','.join(names[part])}", tuple(names[part]), number, threads,
            shown={name: ",".join(words[part]) for name, words in given.items()}, nodes=nodes,
        )
        for number, part in enumerate(parts)
    ]  # fmt: skip
