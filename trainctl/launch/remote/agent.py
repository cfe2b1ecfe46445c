"""The agent: holds the devices that an engine has given on one machine, and runs jobs there for the launcher.

It is a launcher's zygote and slots at the other end of a connection. The engine starts it with `command_of`; it ends
with its launcher, and all of its jobs with it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import platform
import secrets
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from trainctl.compose.job import SweepContext
from trainctl.errors import TrainctlError
from trainctl.launch.local.channel import Channel, ChannelClosed
from trainctl.launch.local.client import Starter, why_not_fork
from trainctl.launch.local.job import become_job
from trainctl.launch.local.late_code import LoadedModules
from trainctl.launch.local.payload import unpack_context
from trainctl.launch.local.warmup import rehearse
from trainctl.launch.remote.wire import Address, WrongPeer, connect, look_for_locks
from trainctl.launch.slots.slot import Slot
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import machine_facts
from trainctl.rundir.status import asked_to_stop

SPARE = 2  # connections for jobs that are kept ready, beside one for each slot
_CONNECT_S = 120.0  # a launcher that was killed comes back within this, or its agents end
_AGAIN_S = 1.0
_STOPS_S = 1.0  # between two looks at whether somebody has asked to stop a run
_PORTS = 1 << 16
_NOTICES = (signal.SIGTERM, signal.SIGUSR2)


class StopRequests:
    """Ends jobs of this node that somebody on another one has asked to stop, by a file in the run dir.

    A request counts for the process that it names only.

    Args:
        end: sends a signal to a job and all of its process group.
    """

    def __init__(self, end: Callable[[int, signal.Signals], None]) -> None:
        self._end = end
        self._pids: dict[int, int] = {}
        self._runs: dict[int, RunDir] = {}
        self._kill_at: dict[int, float] = {}
        self._looked = 0.0

    def forked(self, number: int, pid: int) -> None:
        """A job has a process."""
        self._pids[number] = pid

    def started(self, number: int, path: Path) -> None:
        """A job has begun in its run dir."""
        self._runs[number] = RunDir.at(path)

    def ended(self, number: int) -> None:
        """Nothing is left of a job."""
        for known in (self._pids, self._runs, self._kill_at):
            known.pop(number, None)

    @property
    def patience_s(self) -> float | None:
        """Seconds after which to look again; None while no job runs."""
        return max(0.0, self._looked + _STOPS_S - time.monotonic()) if self._runs else None

    def obey(self) -> None:
        """End what is to be ended: TERM first, KILL after the grace."""
        now = time.monotonic()
        if now < self._looked + _STOPS_S * 0.9:
            return
        self._looked = now
        for number, run in self._runs.items():
            pid, kill_at = self._pids.get(number), self._kill_at.get(number)
            if kill_at is not None and now >= kill_at:
                self._end(number, signal.SIGKILL)
            elif kill_at is None and pid is not None and (grace_s := asked_to_stop(run, pid)) is not None:
                self._kill_at[number] = now + grace_s
                self._end(number, signal.SIGTERM)


class Agent:
    """One agent, from its first connection to its end.

    Messages from the launcher: the packed context, then `start(number, spare)`, `signal(number, signal)`,
    `run(number, path)` once a job has begun there.
    To it: `ready(slots)`, `failed(why)`, `forked(number, pid)`, `exited(number, status)`, `leaving(why)`.
    """

    def __init__(
        self, find_addresses: Callable[[], list[tuple[Path, Address]]], facts: Mapping[str, str], slots: list[Slot]
    ) -> None:
        self._find_addresses = find_addresses
        self._address: Address | None = None  # of the launcher
        self._facts = dict(facts)
        self._slots = slots
        self._id = secrets.token_hex(8)
        self._spares: dict[int, socket.socket] = {}
        self._next_spare = 0
        self._notice: int | None = None
        self._ports: dict[int, int] = {}  # of the jobs' connections here, by job number
        self._ends = mmap.mmap(-1, _PORTS)  # shared with the jobs: those that their launcher wants to end, by port
        self._wake_read, self._wake_write = os.pipe()

    def run(self) -> int:
        """Serve the launcher until it needs the agent no longer; return the exit code."""
        self._listen_to_signals()
        try:
            channel, program = self._connect()
        except ChannelClosed:
            return 0  # nothing is left to do: an allocation that came late
        except WrongPeer as error:
            sys.stderr.write(f"the launcher of this sweep cannot be reached: {error}\n")
            return 1
        try:
            starter = self._begin(channel, program)
        except ChannelClosed:
            return 0  # the launcher has ended
        except TrainctlError as error:
            with contextlib.suppress(ChannelClosed):
                channel.send("failed", str(error))
            sys.stderr.write(f"{error}\n")
            return 1
        try:
            self._serve(channel, starter)
        except ChannelClosed:
            pass  # the launcher has ended, or was killed
        finally:
            starter.close()
        return 0

    def _connect(self) -> tuple[Channel, bytes]:
        """Connect to a launcher that has something to do; one that is started again meanwhile has another address.

        Returns:
            the channel to it, and the program that it has sent.

        Raises:
            ChannelClosed: none of them has; or there is none. WrongPeer: none can be reached.
        """
        until, why = time.monotonic() + _CONNECT_S, "the allocation is about to end"
        while self._notice is None and time.monotonic() < until:
            refused, addresses = 0, self._find_addresses()
            for path, self._address in addresses:
                try:
                    self._facts["locks"] = look_for_locks(path)
                    hello = self._hello("agent")
                    channel = Channel(connect(self._address, hello, is_wanted=lambda: self._notice is None))
                    return channel, channel.receive_bytes()
                except ChannelClosed:
                    channel.close()
                    refused += 1
                except (OSError, WrongPeer) as error:
                    why = str(error)
            if refused == len(addresses):
                raise ChannelClosed
            select.select([self._wake_read], [], [], _AGAIN_S)
        raise WrongPeer(why)

    def _hello(self, role: str, **more: Any) -> dict[str, Any]:
        return {"role": role, "agent": self._id, "facts": self._facts, "versions": versions(), **more}

    def _begin(self, channel: Channel, program: bytes) -> Starter:
        """Load the program, fork the zygote from this process, and say that jobs may come.

        Raises:
            ChannelClosed: the launcher has ended. TrainctlError: the program cannot be loaded here.
        """
        context = unpack_context(program)
        machine_facts()
        starter = self._fork_zygote(context, channel)
        starter.limit_threads(self._slots[0].threads)
        for _ in range(len(self._slots) + SPARE):
            self._open_spare()
        channel.send("ready", self._slots)
        return starter

    def _open_spare(self) -> None:
        """Open one more connection for a job to come.

        Raises:
            ChannelClosed: the launcher takes none.
        """
        number = self._next_spare = self._next_spare + 1
        try:
            assert self._address is not None
            self._spares[number] = connect(self._address, self._hello("job", spare=number))
        except (OSError, WrongPeer) as error:
            raise ChannelClosed from error

    def _serve(self, channel: Channel, starter: Starter) -> None:
        poll, stops = select.poll(), StopRequests(lambda number, each: self._end(starter, number, each))
        for descriptor in (channel.fileno(), starter.fileno(), self._wake_read):
            poll.register(descriptor, select.POLLIN)
        has_told = False
        while True:
            patience_s = stops.patience_s
            ready = {descriptor for descriptor, _ in poll.poll(None if patience_s is None else patience_s * 1000)}
            stops.obey()
            if self._notice is not None and not has_told:
                has_told = True
                poll.unregister(self._wake_read)
                channel.send("leaving", signal.Signals(self._notice).name)
            if starter.fileno() in ready:
                report = starter.report()
                if report is None:
                    return  # the zygote was killed, and its jobs with it
                if report[0] == "forked":
                    stops.forked(*report[1:])
                elif report[0] == "exited":
                    stops.ended(report[1])
                channel.send(*report)
            if channel.fileno() in ready:
                message = channel.receive()
                if message[0] == "run":
                    stops.started(message[1], Path(message[2]))
                else:
                    self._obey(message, starter)

    def _obey(self, message: tuple[Any, ...], starter: Starter) -> None:
        kind, *values = message
        if kind == "start":
            number, spare = values
            connection = self._spares.pop(spare)
            port = self._ports[number] = connection.getsockname()[1]
            self._ends[port] = 0
            try:
                starter.start_on(number, connection)
            finally:
                connection.close()  # the job has its own
            self._open_spare()
        elif kind == "signal":
            self._end(starter, values[0], signal.Signals(values[1]))

    def _end(self, starter: Starter, number: int, signal_number: signal.Signals) -> None:
        if number in self._ports:
            self._ends[self._ports[number]] = 1
        starter.signal(number, signal_number)

    def _fork_zygote(self, context: SweepContext, control: Channel) -> Starter:
        obstacle = why_not_fork()
        if obstacle is not None:
            raise TrainctlError(f"jobs cannot be forked on {platform.node()}: {obstacle}")

        modules = LoadedModules(context.begun, context.program.script, are_launchers=False)

        def run_job(connection: socket.socket, parent: int) -> NoReturn:
            port = connection.getsockname()[1]

            def end(number: int, _: object) -> None:
                """Obey the agent alone; a notice of the engine goes to all processes, and leaves time to save."""
                if self._ends[port]:
                    signal.signal(number, signal.SIG_DFL)
                    os.kill(os.getpid(), number)

            signal.signal(signal.SIGTERM, end)
            become_job(Channel(connection), lambda: context, parent=parent, forked=False, modules=modules)

        def begin() -> None:
            control.close()  # so that the launcher sees the agent's end, even if a job lives on
            signal.set_wakeup_fd(-1)
            rehearse(context)

        return Starter.fork(run_job, begin)

    def _listen_to_signals(self) -> None:
        """Handle the engine's signals, which announce the time limit or a preemption."""
        os.set_blocking(self._wake_write, False)

        def note(number: int, _: object) -> None:
            self._notice = self._notice or number

        for number in _NOTICES:
            signal.signal(number, note)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)


def versions() -> dict[str, str]:
    """Return what must be the same on both sides, since configs and results are sent as pickles."""
    import hydra
    import omegaconf

    import trainctl

    return {
        "Python": ".".join(map(str, sys.version_info[:2])),
        "hydra-trainctl": trainctl.__version__,
        "hydra-core": hydra.__version__,
        "omegaconf": omegaconf.__version__,
    }
