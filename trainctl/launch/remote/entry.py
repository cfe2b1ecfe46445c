"""The command that an engine runs on a node: an agent with the import path of the launcher."""

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
from trainctl.errors import TrainctlError
from trainctl.launch.local import linux
from trainctl.launch.remote.addresses import read_addresses
from trainctl.launch.remote.agent import Agent
from trainctl.launch.remote.allocation import slots_here
from trainctl.rundir.status import ENGINE, ENGINE_LOG

_RANKS = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")


def command_of(engine: str, address: Path, options: Mapping[str, Any]) -> list[str]:
    """Return the command that an engine runs on a node: an agent with the import path of this process.

    Args:
        engine: its name, as the status of a job says it.
        address: the file in which the launcher says where it listens; or a directory with those of several.
        options: `gpus_per_job` and `jobs_per_gpu`.
    """
    path = json.dumps(sys.path, default=os.fspath)
    return [sys.executable, "-c", _BEGIN, path, engine, str(address), json.dumps(options)]


def main() -> None:
    """Be an agent."""
    open_missing_streams()
    if sys.argv[1] == "Ray":
        linux.die_with_parent(os.getppid())  # the actor
    engine, address, options = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    facts = {"engine": engine, "id": _FACTS[engine](), "node": socket.gethostname()}
    for name in _RANKS:
        os.environ.pop(name, None)  # jobs are no ranks; those that they start by srun are
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
_BEGIN = f"import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from {__name__} import main; main()"
