"""Slurm: allocations that hold devices, each with an agent that runs jobs until none is left or its time is short."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainctl.compose.job import SweepContext
from trainctl.errors import SettingError, UnreadableError
from trainctl.launch.executor import Host
from trainctl.launch.local.payload import pack_context
from trainctl.launch.remote.agent import command_of
from trainctl.launch.remote.hosts import Agents
from trainctl.launch.settings import Check, LauncherSettings, SweepConf, check_settings, number
from trainctl.rundir import files
from trainctl.rundir.paths import own_dir
from trainctl.rundir.provenance import original_cwd

_LOOK_S = 2.0  # between two questions to Slurm while something is waited for
_CALM_S = 30.0  # while all is well
_COMMAND_S = 60.0  # for one of Slurm's commands
_MOST_LOST = 3  # allocations in a row that ended without a word from their agent
_OPTION = re.compile(r"[a-z][a-z0-9-]*")
_ENDED = {
    "TIMEOUT": "its allocation's time was up",
    "NODE_FAIL": "its node failed",
    "PREEMPTED": "its allocation was preempted",
    "OUT_OF_MEMORY": "its allocation ran out of memory",
    "CANCELLED": "its allocation was cancelled",
}


@dataclass
class SlurmConf(SweepConf):
    """`hydra/launcher=slots_slurm`: the names of hydra-submitit-launcher where it has one."""

    _target_: str = "hydra_plugins.hydra_trainctl.clusters.SlurmLauncher"

    # what each allocation asks for, as sbatch has it
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    timeout_min: int = 60
    cpus_per_task: int | None = None
    gpus_per_node: Any = None
    mem_gb: float | None = None
    mem_per_gpu: str | None = None
    mem_per_cpu: str | None = None
    cpus_per_gpu: int | None = None
    gres: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    comment: str | None = None
    name: str = "trainctl"
    signal_delay_s: int = 120
    additional_parameters: dict[str, Any] = field(default_factory=dict)

    # lines of shell that run before the agent of an allocation
    setup: list[str] | None = None

    # allocations at once
    array_parallelism: int = 256

    # jobs for which an allocation is used; null: as many as fit into its time
    jobs_per_allocation: int | None = None

    # how often a job that a time limit, a preemption or a lost node has ended goes on in another allocation
    max_num_timeout: int = 3

    # GPUs that each job gets, of those of its allocation; jobs that run on each GPU at once
    gpus_per_job: int | None = None
    jobs_per_gpu: int | None = None


_OPTIONS = (
    *("partition", "account", "qos", "cpus_per_task", "gpus_per_node", "mem_per_gpu", "mem_per_cpu", "cpus_per_gpu"),
    *("gres", "constraint", "exclude", "comment"),
)


@dataclass(frozen=True, slots=True)
class Allocation:
    """What Slurm says of one allocation that has not ended."""

    id: str
    state: str
    reason: str


class SlurmExecutor:
    """Submits agents as array tasks, as many as the jobs that are left can use, and follows what becomes of them."""

    def __init__(self, payload: bytes, conf: dict[str, Any], sweep_dir: Path) -> None:
        """Listen for agents; nothing is submitted yet. `conf` is checked (`check_slurm`)."""
        self._conf = conf
        self.notice_s = conf["signal_delay_s"] * 0.8
        self.most_moves: int = conf["max_num_timeout"]
        self.threads: Mapping[str, str] = {}  # each agent sees to it
        self._dir = own_dir(sweep_dir) / "slurm"
        self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._left = 1
        self._agents = Agents(payload, takes=lambda: self._left > 0)
        self._address = self._dir / "launcher.json"
        files.write_atomic(self._address, self._agents.address.text())
        os.chmod(self._address, 0o600)
        self._ids: list[str] = self._earlier()
        self._alive: dict[str, Allocation] = {}
        self._met: set[str] = set()  # allocations whose agents have come
        self._lost = 0
        self._looked = -math.inf
        self.hosts: list[Host] = []
        self.obstacle: str | None = None

    def memory(self) -> dict[str, tuple[float, float]]:
        return {}

    def filenos(self) -> Sequence[int]:
        return self._agents.filenos()

    @property
    def patience_s(self) -> float | None:
        wait = _CALM_S if self.hosts and not self._left else _LOOK_S
        return max(0.0, self._looked + wait - time.monotonic())

    def look(self, left: int) -> Sequence[str]:
        """Take in agents that have come, ask Slurm about the others, and submit what the jobs that are left can use."""
        self._left = left
        lines = self._hear()
        if time.monotonic() - self._looked < _LOOK_S * 0.9:
            return lines
        self._looked = time.monotonic()
        self._release(left)
        before, self._alive = self._alive, self._ask()
        for ended in before.keys() - self._alive.keys() - self._met:
            self._lost += 1
            lines.append(f"Slurm's {ended} ended before its agent came{self._last_words(ended)}")
        if self._lost >= _MOST_LOST and not self.hosts:
            self.obstacle = f"{self._lost} allocations ended before their agents came; their output is in {self._dir}"
        elif left:
            lines += self._submit(min(self._wanted(left), self._conf["array_parallelism"]) - len(self._alive))
        return lines

    def why_lost(self, host: Host) -> str:
        state = self._state_of(host.engine["id"])
        why = next(
            (text for word, text in _ENDED.items() if state.startswith(word)), "the connection to its agent broke"
        )
        return f"ended with its host {host.name} (Slurm {host.engine['id']}{f', {state}' if state else ''}): {why}"

    def close(self) -> None:
        """Let all agents end, and cancel what has not begun."""
        self._agents.close()
        self.hosts.clear()
        if self._ids:
            _run("scancel", *self._ids)
            self._ids.clear()
        self._remember()

    def _hear(self) -> list[str]:
        self._agents.hear()
        lines = [f"ERROR {each}" for each in self._agents.refusals]
        self._agents.refusals.clear()
        for host in self._agents.ready:
            self._lost = 0
            self._met.add(host.engine["id"])
            host.most = self._conf["jobs_per_allocation"]
            self.hosts.append(host)
            lines.append(f"HOST  {host.name} (Slurm {host.engine['id']}): {len(host.pool.slots)} slots")
        self._agents.ready.clear()
        return lines

    def _release(self, left: int) -> None:
        """Let hosts end that have nothing to do any more, while jobs run elsewhere."""
        busy = any(host.jobs for host in self.hosts)
        for host in [each for each in self.hosts if not each.jobs]:
            if not host.takes_one() or (busy and not left):
                self.hosts.remove(host)
                self._agents.forget(host)

    def _wanted(self, left: int) -> int:
        """Return how many allocations the jobs that are left, and those that run, can use."""
        per = self._conf["jobs_per_allocation"] or self._slots_each()
        running = sum(not host.is_leaving for host in self.hosts)
        free = sum(host.pool.free for host in self.hosts if not host.is_leaving)
        return running + math.ceil(max(0, left - free) / per)

    def _slots_each(self) -> int:
        gpus = str(self._conf["gpus_per_node"] or 0).rpartition(":")[2]
        count = int(gpus) if gpus.isdigit() else 1
        return max(1, count // (self._conf["gpus_per_job"] or 1) * (self._conf["jobs_per_gpu"] or 1))

    def _submit(self, count: int) -> list[str]:
        if count < 1:
            return []
        command = ["sbatch", "--parsable", f"--array=0-{count - 1}", *self._options(), str(self._write_script())]
        found = _run(*command)
        if found.returncode:
            self.obstacle = f"Slurm takes no allocation: {' '.join(found.stderr.split())[:300]}"
            return []
        name = found.stdout.strip().partition(";")[0]
        self._ids.append(name)
        self._remember()
        self._alive.update({f"{name}_{task}": Allocation(f"{name}_{task}", "PENDING", "") for task in range(count)})
        return [f"submitted Slurm {name}: {count} allocation{'s' * (count > 1)}"]

    def _options(self) -> list[str]:
        conf = self._conf
        given = {name.replace("_", "-"): conf[name] for name in _OPTIONS if conf[name] is not None}
        given |= {"job-name": conf["name"], "time": conf["timeout_min"], "signal": f"B:USR2@{conf['signal_delay_s']}"}
        given |= {"mem": f"{math.ceil(conf['mem_gb'] * 1024)}M"} if conf["mem_gb"] is not None else {}
        given |= {"output": str(self._dir / "%A_%a.out"), "open-mode": "append", "chdir": original_cwd()}
        given |= {name.replace("_", "-"): value for name, value in conf["additional_parameters"].items()}
        return ["--requeue", *(f"--{name}" if value is True else f"--{name}={value}" for name, value in given.items())]

    def _write_script(self) -> Path:
        path = self._dir / "agent.sh"
        options = {name: self._conf[name] for name in ("gpus_per_job", "jobs_per_gpu")}
        agent = shlex.join(command_of("Slurm", self._address, options))
        files.write_atomic(path, "\n".join(["#!/bin/sh", *(self._conf["setup"] or []), f"exec {agent}", ""]))
        return path

    def _ask(self) -> dict[str, Allocation]:
        """Return what of our allocations has not ended."""
        if not self._ids:
            return {}
        found = _run("squeue", "--noheader", "--array", f"--jobs={','.join(self._ids)}", "--format=%i|%T|%r")
        lines = [line.split("|") for line in found.stdout.splitlines() if line.count("|") == 2]
        return {line[0]: Allocation(*line) for line in lines if line[1] not in _ENDED and line[1] != "COMPLETING"}

    def _state_of(self, allocation: str) -> str:
        """Return how Slurm says that an allocation ended; it remembers that for some minutes without accounting."""
        found = _run("scontrol", "--oneliner", "show", "job", allocation)
        state = re.search(r"\bJobState=(\S+)", found.stdout)
        return "" if state is None else state[1]

    def _last_words(self, allocation: str) -> str:
        try:
            text = files.read_bytes(self._dir / f"{allocation}.out", 1 << 16).decode(errors="replace")
        except UnreadableError:
            return f" ({self._state_of(allocation)})"
        return f": {text.strip().splitlines()[-1][:300]}" if text.strip() else f" ({self._state_of(allocation)})"

    def _earlier(self) -> list[str]:
        """Return what a launcher before us has submitted here: what of it has not begun is used by this one."""
        given = files.read_mapping(self._dir / "submitted.yaml").get("ids")
        return [each for each in given if re.fullmatch(r"\d+", str(each))] if isinstance(given, list) else []

    def _remember(self) -> None:
        files.write_yaml(self._dir / "submitted.yaml", {"ids": self._ids})


def make_slurm(conf: dict[str, Any]) -> Callable[[SweepContext, LauncherSettings, Path], SlurmExecutor]:
    """Return what makes the executor of a sweep, for checked settings."""

    def make(context: SweepContext, settings: LauncherSettings, sweep_dir: Path) -> SlurmExecutor:  # noqa: ARG001
        return SlurmExecutor(pack_context(context), conf, sweep_dir)

    return make


def check_settings_of_slurm(options: dict[str, Any]) -> tuple[LauncherSettings, dict[str, Any]]:
    """Check the settings of `slots_slurm`: return those of the sweep, and Slurm's.

    Raises:
        SettingError: names the key, the value, and what is allowed; or Slurm's commands are not here.
    """
    shared = {each.name for each in dataclasses.fields(SweepConf)}
    known = {each.name for each in dataclasses.fields(SlurmConf)} - {"_target_"}
    unknown = sorted(set(options) - known)
    if unknown:
        raise SettingError(f"hydra.launcher.{unknown[0]} is not known; known are {', '.join(sorted(known))}")
    of_sweep = check_settings(**{name: value for name, value in options.items() if name in shared})
    return of_sweep, check_slurm({name: value for name, value in options.items() if name not in shared})


def check_slurm(conf: dict[str, Any]) -> dict[str, Any]:
    """Check the settings of `slots_slurm` that are Slurm's; what is not given has its default.

    Raises:
        SettingError: names the key, the value, and what is allowed; or Slurm's commands are not here.
    """
    if shutil.which("sbatch") is None:
        raise SettingError("hydra/launcher=slots_slurm needs Slurm's commands, and there is no sbatch on this machine")
    own = {each.name for each in dataclasses.fields(SlurmConf)} - {each.name for each in dataclasses.fields(SweepConf)}
    defaults = dataclasses.asdict(SlurmConf())
    values = {name: defaults[name] for name in own - {"_target_"}} | conf
    for name, check in _CHECKS.items():
        values[name] = check(f"hydra.launcher.{name}", values[name])
    for name in (*_OPTIONS, "name"):
        text = str(values[name])
        if values[name] is not None and (not text or not text.isprintable() or text.startswith("-")):
            raise SettingError(f"hydra.launcher.{name}={values[name]!r} is not a value that sbatch takes")
    for name, value in values["additional_parameters"].items():
        if not _OPTION.fullmatch(str(name).replace("_", "-")) or not str(value).isprintable():
            raise SettingError(f"hydra.launcher.additional_parameters.{name}={value!r} is not an option of sbatch")
    return values


def _mapping(name: str, value: Any) -> Any:
    if not isinstance(value, dict):
        raise SettingError(f"{name}={value!r} must map options of sbatch to values")
    return value


def _lines(name: str, value: Any) -> Any:
    if value is not None and (not isinstance(value, list) or any(not isinstance(line, str) for line in value)):
        raise SettingError(f"{name} must be a list of lines of shell, or null, but got {value!r}")
    return value


_CHECKS: dict[str, Check] = {
    "timeout_min": number(1, whole=True),
    "cpus_per_task": number(1, whole=True, optional=True),
    "cpus_per_gpu": number(1, whole=True, optional=True),
    "mem_gb": number(0, above=True, optional=True),
    "signal_delay_s": number(1, whole=True),
    "array_parallelism": number(1, whole=True),
    "jobs_per_allocation": number(1, whole=True, optional=True),
    "max_num_timeout": number(0, whole=True),
    "gpus_per_job": number(1, whole=True, optional=True),
    "jobs_per_gpu": number(1, whole=True, optional=True),
    "additional_parameters": _mapping,
    "setup": _lines,
}


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run one of Slurm's commands; one that hangs counts as failed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
