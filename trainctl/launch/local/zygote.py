"""The process that forks the jobs' processes, and outlives the launcher just long enough to end them.

It is forked from the launcher while that is still single-threaded (or started afresh, for `start=spawn`), so every job
begins as a copy of a process in which nothing has happened yet. It does nothing but fork, reap and kill.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pickle
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from trainctl.attempt.host import why_no_process
from trainctl.attempt.output import open_missing_streams
from trainctl.launch.local import linux
from trainctl.launch.local.channel import Channel
from trainctl.launch.slots.cores import limit_threads

LINGER_S = 5.0  # how long processes that a job left behind may take to end after TERM
_TICK_MS = 50
_MESSAGE_BYTES = 1 << 16


@dataclass(slots=True)
class _Child:
    """A job's process. Once it has ended, processes that it left behind have until `kill_at` to end by themselves."""

    number: int
    status: int | None = None
    kill_at: float | None = None

    def has_left(self) -> bool:
        return self.status is not None


class Zygote:
    """The loop of the zygote process. The other end of `control` is the launcher; when that closes, everything ends.

    Requests: `("start", number)` with a file descriptor for the job, `("signal", number, signal)`,
    `("threads", share)`: what jobs forked from now on may use, as `limit_threads` takes it.
    Reports: `("forked", number, pid)`, `("refused", number, why it was not forked)`, `("exited", number, wait status)`.
    """

    def __init__(self, control: socket.socket, become_job: Callable[[socket.socket, int], NoReturn]) -> None:
        self._control = control
        self._become_job = become_job
        self._children: dict[int, _Child] = {}
        self._wake_read, self._wake_write = os.pipe()

    def serve(self) -> None:
        """Serve requests until the launcher closes its end or dies; then kill all jobs and return."""
        gc.freeze()  # a collection in a job would write to, and so copy, all pages that it shares with this process
        self._listen_to_signals()
        linux.adopt_orphans()
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        try:
            while True:
                ready = {descriptor for descriptor, _ in poll.poll(_TICK_MS if self._has_ended() else None)}
                if self._wake_read in ready:
                    os.read(self._wake_read, _MESSAGE_BYTES)
                self._reap()
                if self._control.fileno() in ready and not self._take_request():
                    return
        finally:
            self._kill_all()

    def _listen_to_signals(self) -> None:
        os.set_blocking(self._wake_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # meant for the launcher, which decides what becomes of the jobs
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def _take_request(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._control, _MESSAGE_BYTES, 1)
        if not data:
            return False
        request = pickle.loads(data)
        if request[0] == "start":
            self._fork(request[1], socket.socket(fileno=descriptors[0]))
        elif request[0] == "threads":
            limit_threads(request[1])
        else:
            self._signal(request[1], request[2])
        return True

    def _fork(self, number: int, connection: socket.socket) -> None:
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._report("refused", number, why_no_process(error))
            connection.close()
            return
        if pid == 0:
            self._leave()
            self._become_job(connection, parent)
        connection.close()
        self._children[pid] = _Child(number)
        self._report("forked", number, pid)

    def _leave(self) -> None:
        """Undo in a new child what makes this process the zygote."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._control.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _signal(self, number: int, signal_number: int) -> None:
        for pid, child in self._children.items():
            if child.number == number:
                _signal_group(pid, signal_number)
                if child.status is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal_number)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            child = self._children.get(pid)
            if child is not None:  # else an orphan
                child.status = status
                child.kill_at = time.monotonic() + LINGER_S
                _signal_group(pid, signal.SIGTERM)
                self._signal_strays(signal.SIGTERM)
        for pid, child in [item for item in self._children.items() if item[1].has_left()]:
            self._finish(pid, child)

    def _strays(self) -> list[int]:
        """List the processes in other groups that ended jobs left behind: daemons.

        A living job adopts its own orphans (`become_job`), so the zygote adopts only those of jobs that have ended.
        """
        return [pid for pid in linux.children() if pid not in self._children]

    def _signal_strays(self, number: int) -> None:
        for pid in self._strays():
            _signal_group(linux.group_of(pid), number)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _finish(self, pid: int, child: _Child) -> None:
        """Report an ended job once nothing is left of it, so that its slot is really free."""
        assert child.kill_at is not None
        if _group_exists(pid) or self._strays():
            if time.monotonic() >= child.kill_at:
                _signal_group(pid, signal.SIGKILL)
                self._signal_strays(signal.SIGKILL)
            return
        del self._children[pid]
        self._report("exited", child.number, child.status)

    def _has_ended(self) -> bool:
        return any(child.has_left() for child in self._children.values())

    def _report(self, *report: Any) -> None:
        with contextlib.suppress(OSError):  # the launcher is gone: the loop is about to see it
            self._control.sendall(pickle.dumps(report))

    def _kill_all(self) -> None:
        """End every job and all that jobs left behind; give up after a while on what the kernel cannot end."""
        deadline = time.monotonic() + LINGER_S
        while time.monotonic() < deadline:
            for pid in self._children:
                _signal_group(pid, signal.SIGKILL)
            for pid in linux.children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            time.sleep(_TICK_MS / 10_000)


def _signal_group(group: int, number: int) -> None:
    if group == os.getpgrp():
        return  # a stray that has stayed in the zygote's group is signalled alone
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _group_exists(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def fresh_interpreter(module: str, *arguments: object) -> list[str]:
    """Return the command of a fresh interpreter that calls a module's `main`, with the import path of this process.

    The import path is an argument, so that PYTHONPATH stays the user's for the job's children.
    """
    begin = f"import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from {module} import main; main()"
    return [sys.executable, "-c", begin, json.dumps(sys.path, default=os.fspath), *map(str, arguments)]


def zygote_command(connection: socket.socket) -> list[str]:
    """Return the command of a zygote that is a fresh interpreter, as are its jobs."""
    return fresh_interpreter(__name__, "zygote", connection.fileno())


def become_interpreter(connection: socket.socket, parent: int) -> NoReturn:
    """Replace this child of the zygote by a fresh interpreter that becomes the job."""
    connection.set_inheritable(True)
    os.execv(sys.executable, fresh_interpreter(__name__, "job", connection.fileno(), parent))


def main() -> None:
    """Be a zygote or a job, as `sys.argv` says, over the connection whose descriptor it names."""
    open_missing_streams()
    connection = socket.socket(fileno=int(sys.argv[2]))
    if sys.argv[1] == "zygote":
        Zygote(connection, become_interpreter).serve()
        return
    from trainctl.launch.local.job import become_job
    from trainctl.launch.local.payload import unpack_context

    connection.set_inheritable(False)
    channel = Channel(connection)
    parent = int(sys.argv[3])
    become_job(channel, lambda: unpack_context(channel.receive_bytes()), parent=parent, forked=False)
