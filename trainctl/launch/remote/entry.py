"""The command that an engine runs on a node: an agent, on the slots that the engine's devices make there."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainctl.attempt.output import open_missing_streams
from trainctl.errors import SettingError, TrainctlError
from trainctl.launch.local import linux
from trainctl.launch.local.zygote import fresh_interpreter
from trainctl.launch.remote.agent import Agent
from trainctl.launch.remote.wire import read_addresses
from trainctl.launch.slots.cores import thread_environment, usable_cores
from trainctl.launch.slots.devices import CUDA, HIP, ROCR, ZE, words_of
from trainctl.launch.slots.slot import CPU, Slot
from trainctl.rundir.status import ENGINE, ENGINE_LOG

_RANKS = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")


def command_of(engine: str, address: Path, options: Mapping[str, Any]) -> list[str]:
    """Return the command that an engine runs on a node: an agent with the import path of this process.

    Args:
        engine: its name, as the status of a job has it.
        address: the file in which the launcher says where it listens; or a directory with those of several launchers.
        options: arguments of `slots_here`.
    """
    return fresh_interpreter(__name__, engine, address, json.dumps(options))


def main() -> None:
    """Be an agent."""
    open_missing_streams()
    if sys.argv[1] == "Ray":
        linux.die_with_parent(os.getppid())  # the actor
    engine, address, options = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    facts = {"engine": engine, "id": _FACTS[engine](), "node": socket.gethostname()}
    for name in _RANKS:
        os.environ.pop(name, None)  # a job is not a rank; what it starts by srun is
    os.environ[ENGINE] = f"{engine} {facts['id']}"
    with contextlib.suppress(OSError):
        printed = os.readlink("/proc/self/fd/1")
        if os.path.isfile(printed):
            os.environ[ENGINE_LOG] = printed
    try:
        slots = slots_here(**options)
    except TrainctlError as error:
        sys.exit(str(error))
    sys.exit(Agent(lambda: read_addresses(address), facts, slots).run())


def _slurm_id() -> str:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return os.environ.get("SLURM_JOB_ID", "") if array is None else f"{array}_{task}"


_FACTS: dict[str, Callable[[], str]] = {"Slurm": _slurm_id, "Ray": lambda: os.environ.get("TRAINCTL_RAY_ACTOR", "")}


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
