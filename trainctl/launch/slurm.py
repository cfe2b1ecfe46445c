"""Slurm: allocations that hold devices, each with an agent that runs jobs until none is left or its time is short."""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainctl.compose.job import SweepContext
from trainctl.errors import SettingError, UnreadableError
from trainctl.launch.cluster_settings import SlurmConf
from trainctl.launch.remote.engine import AgentExecutor, executor_of
from trainctl.launch.remote.entry import command_of
from trainctl.launch.settings import Check, LauncherSettings, check_engine, number
from trainctl.rundir import files
from trainctl.rundir.provenance import original_cwd
from trainctl.rundir.sweep import Queued

_COMMAND_S = 60.0  # for one of Slurm's commands
_OPTION = re.compile(r"[a-z][a-z0-9-]*")
_ENDED = {
    "TIMEOUT": "its allocation's time was up",
    "NODE_FAIL": "its node failed",
    "PREEMPTED": "its allocation was preempted",
    "OUT_OF_MEMORY": "its allocation ran out of memory",
    "CANCELLED": "its allocation was cancelled",
}
_WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD")
_BROKEN = "the connection to its agent broke"
_OPTIONS = (
    *("partition", "account", "qos", "cpus_per_task", "gpus_per_node", "mem_per_gpu", "mem_per_cpu", "cpus_per_gpu"),
    *("gres", "constraint", "exclude", "comment"),
)


class SlurmEngine:
    """Submits agents as array tasks and follows their allocations. Slurm's accounting is not needed."""

    name = "Slurm"

    def __init__(self, conf: dict[str, Any], address: Path) -> None:
        """Submit nothing yet. `conf` is checked (`check_slurm`); agents read the launcher's address from this file."""
        self._conf = conf
        self._launchers, self._dir = address.parent, address.parent.parent
        self._queued: dict[str, Queued] = {}
        self._alive: set[str] = set()
        self._living: set[str] = set()  # of which processes may be there
        self.slots_each = self._slots_each()
        self.most: int = conf["array_parallelism"]
        self.jobs_each: int | None = conf["jobs_per_allocation"]
        self.notice_s = conf["signal_delay_s"] * 0.8
        self.most_moves: int = conf["max_num_timeout"]
        self.obstacle: str | None = None

    def submit(self, count: int) -> list[str]:
        command = ["sbatch", "--parsable", f"--array=0-{count - 1}", *self._options(), str(self._write_script())]
        found = _run(*command)
        if found.returncode:
            self.obstacle = f"Slurm refused an allocation: {' '.join(found.stderr.split())[:300]}"
            return [f"ERROR {self.obstacle}"]
        name = found.stdout.strip().partition(";")[0]
        files.append_lines(self._submitted, [{"id": name}])
        return [f"asked Slurm for {count} allocation{'s' * (count > 1)} (job {name})"]

    def alive(self) -> set[str]:
        ids = self._ids()
        if not ids:
            return set()
        found = _run("squeue", "--noheader", "--array", f"--jobs={','.join(ids)}", "--format=%i|%T|%P|%V|%r")
        if found.returncode and "Invalid job id" not in found.stderr:
            return self._alive  # the controller does not answer: nothing is known to have changed
        lines = [line.split("|", 4) for line in found.stdout.splitlines() if line.count("|") >= 4]
        self._queued = {
            name: Queued(f"Slurm {name}", f"partition {partition}", float(since) if since.isdecimal() else None, why)
            for name, state, partition, since, why in lines
            if state in _WAITING
        }
        self._living = {name for name, state, *_ in lines if state not in _ENDED and state not in _WAITING}
        self._alive = {name for name, state, *_ in lines if state not in _ENDED and state != "COMPLETING"}
        return self._alive

    def queued(self, agent: str) -> Queued | None:
        return self._queued.get(agent)

    def may_live(self, agent: str) -> bool:
        return agent in self._living

    def why_ended(self, agent: str) -> str:
        found = _run("scontrol", "--oneliner", "show", "job", agent)  # it remembers what ended for some minutes
        state = re.search(r"\bJobState=(\S+)", found.stdout)
        return next((text for word, text in _ENDED.items() if state is not None and state[1].startswith(word)), _BROKEN)

    def last_words(self, agent: str) -> str:
        try:
            lines = files.read_bytes(self._dir / f"{agent}.out").decode(errors="replace").split("\n")
        except UnreadableError:
            return ""
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")

    def close(self, *, is_last: bool) -> None:
        """Cancel allocations that have not begun, unless other launchers use them; agents end with their launcher."""
        ids = self._ids()
        if is_last and ids:
            _run("scancel", "--state=PENDING", *ids)
            self._submitted.unlink(missing_ok=True)

    def _slots_each(self) -> int:
        if self._conf["nodes"] > 1:
            return 1
        count = _gpus(self._conf) or 1
        return max(1, count // (self._conf["gpus_per_job"] or 1) * (self._conf["jobs_per_gpu"] or 1))

    def _options(self) -> list[str]:
        conf = self._conf
        given = {name.replace("_", "-"): conf[name] for name in _OPTIONS if conf[name] is not None}
        given |= {"job-name": conf["name"], "time": conf["timeout_min"], "signal": f"B:USR2@{conf['signal_delay_s']}"}
        given |= {"nodes": conf["nodes"]} if conf["nodes"] > 1 else {}
        given |= {"mem": f"{math.ceil(conf['mem_gb'] * 1024)}M"} if conf["mem_gb"] is not None else {}
        given |= {"output": str(self._dir / "%A_%a.out"), "open-mode": "append", "chdir": original_cwd()}
        given |= {name.replace("_", "-"): value for name, value in conf["additional_parameters"].items()}
        return ["--requeue", *(f"--{name}" if value is True else f"--{name}={value}" for name, value in given.items())]

    def _write_script(self) -> Path:
        path = self._dir / "agent.sh"
        options = {name: self._conf[name] for name in ("gpus_per_job", "jobs_per_gpu", "nodes")}
        agent = shlex.join(command_of("Slurm", self._launchers, options))
        files.write_atomic(path, "\n".join(["#!/bin/sh", *(self._conf["setup"] or []), f"exec {agent}", ""]))
        return path

    @property
    def _submitted(self) -> Path:
        """The file that lists what the launchers of the sweep have submitted; any of them uses what still waits."""
        return self._dir / "submitted.jsonl"

    def _ids(self) -> list[str]:
        try:
            records = files.parse_lines(files.read_bytes(self._submitted))
        except OSError:
            return []
        return [str(each.get("id")) for each in records if re.fullmatch(r"\d+", str(each.get("id")))]


def make_slurm(conf: dict[str, Any]) -> Callable[[SweepContext, LauncherSettings, Path], AgentExecutor]:
    """Return the function that makes the executor of a sweep, for checked settings."""
    return executor_of("slurm", lambda address: SlurmEngine(conf, address))


def check_slurm(options: Mapping[str, Any]) -> tuple[LauncherSettings, dict[str, Any]]:
    """Check the settings of `slots_slurm`: return those of the sweep, and Slurm's.

    Raises:
        SettingError: names the key, the value, and what is allowed; or Slurm's commands are not here.
    """
    if shutil.which("sbatch") is None:
        raise SettingError("hydra/launcher=slots_slurm needs Slurm's commands, and there is no sbatch on this machine")
    settings, values = check_engine(SlurmConf, options, _CHECKS)
    for name in ("gpus_per_job", "jobs_per_gpu"):
        if values["nodes"] > 1 and values[name] is not None:
            raise SettingError(
                f"hydra.launcher.{name}={values[name]} shares the devices of a node out, but with hydra.launcher.nodes="
                f"{values['nodes']} each job has all of its nodes; leave one of the two out"
            )
    gpus = _gpus(values)
    if gpus is not None and (values["gpus_per_job"] or 1) > gpus:
        raise SettingError(
            f"hydra.launcher.gpus_per_job={values['gpus_per_job']}, but an allocation has "
            f"hydra.launcher.gpus_per_node={values['gpus_per_node']}"
        )
    if values["signal_delay_s"] >= values["timeout_min"] * 60:
        raise SettingError(
            f"hydra.launcher.signal_delay_s={values['signal_delay_s']} leaves jobs no time before the notice: an "
            f"allocation ends after hydra.launcher.timeout_min={values['timeout_min']}; make one longer or the other "
            "shorter"
        )
    for name in (*_OPTIONS, "name"):
        text = str(values[name])
        if values[name] is not None and (not text or not text.isprintable() or text.startswith("-")):
            raise SettingError(f"hydra.launcher.{name}={values[name]!r} is not a value that sbatch takes")
    for name, value in values["additional_parameters"].items():
        if not _OPTION.fullmatch(str(name).replace("_", "-")) or not str(value).isprintable():
            raise SettingError(f"hydra.launcher.additional_parameters.{name}={value!r} is not an option of sbatch")
    return settings, values


def _gpus(conf: Mapping[str, Any]) -> int | None:
    """Return how many GPUs a node of an allocation has, by `gpus_per_node`: 2, `a100:2`, `a100`; None if not said."""
    if conf["gpus_per_node"] is None:
        return None
    count = str(conf["gpus_per_node"]).rpartition(":")[2]
    return int(count) if count.isdigit() else 1


def _mapping(name: str, value: Any) -> Any:
    if not isinstance(value, dict):
        raise SettingError(f"{name}={value!r} must map options of sbatch to values")
    return value


def _one(name: str, value: Any) -> Any:
    if value != 1:
        raise SettingError(f"{name} must be 1, but got {value!r}: a job starts its ranks itself, by torchrun or srun")
    return value


def _lines(name: str, value: Any) -> Any:
    if value is not None and (not isinstance(value, list) or any(not isinstance(line, str) for line in value)):
        raise SettingError(f"{name} must be a list of lines of shell, or null, but got {value!r}")
    return value


_CHECKS: dict[str, Check] = {
    "timeout_min": number(1, whole=True),
    "nodes": number(1, whole=True),
    "tasks_per_node": _one,
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
        environment = {**os.environ, "SLURM_TIME_FORMAT": "%s"}  # Unix seconds
        return subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S, check=False, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
