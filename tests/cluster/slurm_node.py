"""A real Slurm with devices that are none, started and ended by the tests; its files lie in one directory.

It has this machine as its one node, or several nodes of other names on it: each has a host name and mounts of its own.

As root: slurmd asks for it. Devices must be character devices for Slurm to name them to jobs; these are `/dev/null`'s.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

COMMANDS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "scancel")
_PATIENCE_S = 60.0


def missing() -> str | None:
    """Say what keeps a Slurm from being started here; None if nothing does."""
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
    absent = [name for name in COMMANDS if shutil.which(name, path=path) is None]
    if absent:
        return f"Slurm is not installed: no {', '.join(absent)} (Debian's slurm-wlm and munge)"
    return None if os.geteuid() == 0 else "a Slurm of its own needs root"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class SlurmNode:
    """A Slurm. `environment` has what its commands need to find it.

    Args:
        directory: for its files.
        gpus: of each node.
        cpus: of each node.
        nodes: by name, the shell that makes a node's mounts; none: this machine is the one node.
    """

    def __init__(
        self, directory: Path, *, gpus: int = 4, cpus: int = 8, nodes: Mapping[str, str] | None = None
    ) -> None:
        self.directory = directory
        self.host = socket.gethostname().partition(".")[0]
        self._nodes = dict(nodes or {self.host: ""})
        self.environment = {"SLURM_CONF": str(directory / "slurm.conf")}
        self._processes: list[subprocess.Popen[bytes]] = []
        for name in ("state", "spool", "log", "munge", "dev"):
            (directory / name).mkdir(mode=0o755)
        for number in range(gpus):
            os.mknod(directory / "dev" / f"nvidia{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        self._write(gpus, cpus)

    def start(self) -> None:
        """Start the daemons, and wait until the node takes jobs."""
        key = self.directory / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        sock = f"--socket={self.directory / 'munge' / 'socket'}"
        files = [f"--{name}-file={self.directory / 'munge' / name}" for name in ("key", "pid", "log", "seed")]
        self._daemon("munged", "--foreground", "--force", sock, *files)
        self._wait_for((self.directory / "munge" / "socket").exists)
        self._daemon("slurmctld", "-D", "-c")
        for name, mounts in self._nodes.items():
            (self.directory / "spool" / name).mkdir(exist_ok=True)
            apart = ("unshare", "--uts", "--mount", "sh", "-ec", f'hostname {name}; {mounts}\nexec "$@"', "sh")
            own = () if name == self.host else apart
            self._daemon("slurmd", "-D", "-N", name, before=own)
        self._wait_for(
            lambda: self.run("sinfo", "--noheader", "--Node", "--format=%T").count("idle") == len(self._nodes)
        )

    def run(self, *command: str) -> str:
        """Run one of Slurm's commands, and return what it says."""
        environment = {**os.environ, **self.environment}
        cwd = self.directory  # for the output of jobs
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False).stdout

    def stop(self) -> None:
        """End all jobs, then the daemons."""
        self.run("scancel", "--user=root")
        deadline = time.monotonic() + _PATIENCE_S
        while self.run("squeue", "--noheader").strip() and time.monotonic() < deadline:
            time.sleep(0.2)
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()

    def _daemon(self, name: str, *arguments: str, before: Sequence[str] = ()) -> None:
        path = shutil.which(name, path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
        assert path is not None
        with (self.directory / "log" / f"{name}.out").open("ab") as log:
            environment = {**os.environ, **self.environment}
            self._processes.append(
                subprocess.Popen(
                    [*before, path, *arguments], env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
                )
            )

    @staticmethod
    def _wait_for(is_there: object) -> None:
        assert callable(is_there)
        deadline = time.monotonic() + _PATIENCE_S
        while not is_there():
            assert time.monotonic() < deadline, "Slurm does not start"
            time.sleep(0.1)

    def _write(self, gpus: int, cpus: int) -> None:
        own, host = self.directory, self.host
        (own / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")  # read by slurmd, and used by nothing here
        devices = f"Name=gpu Type=none File={own}/dev/nvidia[0-{gpus - 1}]\n"
        (own / "gres.conf").write_text("".join(f"NodeName={name} {devices}" for name in self._nodes))
        lines = {
            "ClusterName": "trainctl",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "AuthType": "auth/munge",
            # a job that is put back waits until its credential has expired: 120 s if nothing is said
            "AuthInfo": f"socket={own}/munge/socket,cred_expire=5",
            "CredType": "cred/munge",
            "SlurmUser": "root",
            "SlurmdUser": "root",
            "StateSaveLocation": f"{own}/state",
            "SlurmdSpoolDir": f"{own}/spool/%n",
            "SlurmctldPidFile": f"{own}/slurmctld.pid",
            "SlurmdPidFile": f"{own}/slurmd.%n.pid",
            "SlurmctldPort": str(free_port()),
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "JobAcctGatherType": "jobacct_gather/none",
            "AccountingStorageType": "accounting_storage/none",
            "SchedulerType": "sched/backfill",
            "SchedulerParameters": "sched_interval=1,bf_interval=1",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core",
            "ReturnToService": "2",
            "KillWait": "10",
            "GresTypes": "gpu",
            "SlurmdParameters": "config_overrides",  # as many cores as are said below
        }
        has = f"CPUs={cpus} RealMemory=4000 Gres=gpu:none:{gpus} State=UNKNOWN"
        text = "".join(f"{name}={value}\n" for name, value in lines.items())
        for name in self._nodes:
            text += f"NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={free_port()} {has}\n"
        text += f"PartitionName=debug Nodes={','.join(self._nodes)} Default=YES MaxTime=INFINITE State=UP\n"
        (own / "slurm.conf").write_text(text)
