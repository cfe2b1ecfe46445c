"""The launcher's client of the zygote: it requests job processes and receives reports."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from trainctl.attempt.host import why_no_process
from trainctl.errors import JobError
from trainctl.launch.local.channel import Channel
from trainctl.launch.local.linux import is_cuda_initialised
from trainctl.launch.local.zygote import LINGER_S, Zygote, zygote_command

_MESSAGE_BYTES = 1 << 16
_END_S = LINGER_S + 10.0  # in which a zygote ends that can

# called once the zygote is forked: what other rooms do in a launcher that starts threads
once_forked: list[Callable[[], None]] = []


class Starter:
    """Starts job processes through a zygote and keeps it over repeated `launch()` calls."""

    def __init__(self, control: socket.socket, pid: int, *, forks: bool) -> None:
        self._control = control
        self.pid = pid
        self.forks = forks

    @classmethod
    def fork(cls, run_job: Callable[[socket.socket, int], NoReturn], rehearse: Callable[[], object]) -> Starter:
        """Fork the zygote from this process; it calls `rehearse`, and its jobs are copies of it that call `run_job`.

        Raises:
            JobError: it cannot be forked.
        """
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            pid = os.fork()
        except OSError as error:
            raise _no_zygote(error, here, there) from error
        if pid == 0:
            code = 1
            try:
                here.close()
                os.setpgid(0, 0)  # a Ctrl-C at the terminal is for the launcher alone
                rehearse()
                Zygote(there, run_job).serve()
                code = 0
            finally:
                os._exit(code)  # never back into the frames of the user's program
        there.close()
        return cls(here, pid, forks=True)

    @classmethod
    def spawn(cls) -> Starter:
        """Start the zygote as a fresh interpreter; its jobs are fresh interpreters too.

        Raises:
            JobError: it cannot be started.
        """
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            process = subprocess.Popen(zygote_command(there), pass_fds=[there.fileno()], start_new_session=True)
        except OSError as error:
            raise _no_zygote(error, here, there) from error
        process.returncode = 0  # `close` reaps it; Popen would warn about a process that still runs
        there.close()
        return cls(here, process.pid, forks=False)

    def fileno(self) -> int:
        return self._control.fileno()

    def start(self, number: int) -> Channel:
        """Ask for one more job process and return the channel to it.

        Raises:
            JobError: the zygote is gone.
        """
        here, there = socket.socketpair()
        try:
            self.start_on(number, there)
        except JobError:
            here.close()
            raise
        finally:
            there.close()
        return Channel(here)

    def start_on(self, number: int, connection: socket.socket) -> None:
        """Ask for one more job process and give it a copy of a connection to talk over.

        Raises:
            JobError: the zygote is gone.
        """
        try:
            socket.send_fds(self._control, [pickle.dumps(("start", number))], [connection.fileno()])
        except OSError as error:
            raise JobError("the process that starts the jobs is gone; run the same command again to resume") from error

    def limit_threads(self, share: Mapping[str, str]) -> None:
        """Limit the threads of libraries that the zygote has loaded, and so those of all jobs forked from it."""
        with contextlib.suppress(OSError):  # the zygote is gone: `start` will say so
            self._control.sendall(pickle.dumps(("threads", dict(share))))

    def signal(self, number: int, signal_number: signal.Signals) -> None:
        """Send a signal to a job and all of its process group; nothing happens when it has ended."""
        try:
            self._control.sendall(pickle.dumps(("signal", number, int(signal_number))))
        except OSError:
            return  # the zygote is gone, and the jobs with it

    def tell_run(self, number: int, path: Path) -> None:
        """Do nothing: on this machine a run is stopped by signals to its processes."""

    def report(self) -> tuple[Any, ...] | None:
        """Wait for the next report, `forked`, `refused` or `exited` as `Zygote` has them; None: no zygote."""
        try:
            data = self._control.recv(_MESSAGE_BYTES)
        except OSError:
            return None
        if not data:
            return None
        report: tuple[Any, ...] = pickle.loads(data)
        return report

    def close(self) -> None:
        """End the zygote, and with it every job that still runs; kill it if it does not end by itself."""
        if self.pid == 0:
            return
        self._control.close()
        kill_at, wait_s = time.monotonic() + _END_S, 0.001
        with contextlib.suppress(ChildProcessError):  # somebody else reaped it
            while os.waitpid(self.pid, os.WNOHANG)[0] == 0:
                if time.monotonic() >= kill_at:
                    os.kill(self.pid, signal.SIGKILL)  # somebody has stopped it; the kernel ends its jobs
                    kill_at = math.inf
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, 0.05)
        self.pid = 0


def _no_zygote(error: OSError, *ends: socket.socket) -> JobError:
    for end in ends:
        end.close()
    return JobError(f"no job can be started: {why_no_process(error)}")


def why_not_fork() -> str | None:
    """Return why this process must not be forked for jobs; None if it may be."""
    if sys.platform != "linux":
        return f"forking is safe on Linux only, this is {sys.platform}"
    if threading.active_count() > 1:
        names = ", ".join(sorted(thread.name for thread in threading.enumerate() if thread.name != "MainThread"))
        return f"threads are running ({names})"
    if is_cuda_initialised():
        return "CUDA is initialised already"
    return None
