"""The launcher's connections to its agents."""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainctl.errors import JobError
from trainctl.launch.executor import Host
from trainctl.launch.local.channel import Channel, ChannelClosed
from trainctl.launch.remote.agent import versions
from trainctl.launch.remote.wire import UNSEEN, Address, AgentListener
from trainctl.launch.slots.pool import SlotPool
from trainctl.launch.slots.slot import Slot

_STALLED_S = 120.0  # after which an agent that has not loaded the program is given up


class RemoteStarter:
    """Starts job processes through an agent; the jobs talk to the launcher directly."""

    def __init__(self, control: socket.socket) -> None:
        self._control = Channel(control)
        self._gone: tuple[int, int] | None = None  # a pipe, while it is not certain that a lost agent has ended
        self.lost_at: float | None = None
        self.is_seen = True  # the launcher sees the locks of its jobs
        self._spares: deque[tuple[int, Channel]] = deque()

    def fileno(self) -> int:
        return self._control.fileno() if self._gone is None else self._gone[0]

    def add_spare(self, number: int, connection: socket.socket) -> None:
        """Take a connection that the agent has opened for a job to come."""
        self._spares.append((number, Channel(connection)))

    def has_spare(self) -> bool:
        return bool(self._spares)

    def start(self, number: int) -> Channel:
        """Ask for one more job process and return the channel to it.

        Raises:
            JobError: the agent is gone.
        """
        spare, channel = self._spares.popleft()
        try:
            self._control.send("start", number, spare)
        except (ChannelClosed, OSError) as error:
            channel.close()
            raise JobError("the agent that starts the jobs is gone") from error
        return channel

    def signal(self, number: int, signal_number: signal.Signals) -> None:
        """Send a signal to a job and all of its process group; nothing happens when it has ended."""
        with contextlib.suppress(ChannelClosed, OSError):  # the agent is gone, and its jobs with it
            self._control.send("signal", number, int(signal_number))

    def tell_run(self, number: int, path: Path) -> None:
        """Tell the agent in which run dir a job has begun, so that it obeys requests to stop there."""
        with contextlib.suppress(ChannelClosed, OSError):
            self._control.send("run", number, str(path))

    def send_program(self, payload: bytes) -> None:
        """Send the packed context."""
        with contextlib.suppress(ChannelClosed, OSError):  # it is gone: `report` says so
            self._control.send_bytes(payload)

    def report(self) -> tuple[Any, ...] | None:
        """Return the next report of the agent; None: it is gone.

        Where no lock protects the run dirs of its jobs, it counts as gone only once that is certain (`give_up`).
        """
        if self._gone is not None:
            return None
        try:
            return self._control.receive()
        except (ChannelClosed, OSError, pickle.UnpicklingError, EOFError):
            if self.is_seen:
                return None
        self._gone, self.lost_at = os.pipe(), time.monotonic()
        return "leaving", "the connection to its agent broke"

    def give_up(self) -> None:
        """Note that a lost agent has certainly ended."""
        if self._gone is not None:
            os.write(self._gone[1], b".")

    def close(self) -> None:
        """Disconnect: the agent ends, and all of its jobs with it."""
        self._control.close()
        for end in self._gone or ():
            os.close(end)
        self._gone = None
        while self._spares:
            self._spares.popleft()[1].close()


@dataclass(eq=False)
class _Coming:
    """An agent that has connected and is loading the program."""

    starter: RemoteStarter
    facts: dict[str, str]
    since: float = field(default_factory=time.monotonic)


class Agents:
    """All agents of one launcher.

    Attributes:
        ready: hosts that have come since this was last emptied.
        takes: returns whether there is work for a new agent.
        refusals: why agents were turned away or have failed, since this was last emptied.
    """

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._listener = AgentListener()
        self._coming: dict[str, _Coming] = {}
        self._hosts: dict[str, RemoteStarter] = {}
        self.takes: Callable[[], bool] = lambda: True
        self.ready: list[Host] = []
        self.refusals: list[str] = []

    @property
    def address(self) -> Address:
        """Where agents find this launcher."""
        return self._listener.address

    def filenos(self) -> list[int]:
        """Return descriptors that are readable when `hear` has something to do."""
        return [self._listener.fileno(), *(each.starter.fileno() for each in self._coming.values())]

    def hear(self) -> None:
        """Handle new connections, and agents that report ready."""
        for connection, hello in self._listener.arrived():
            self._admit(connection, hello)
        for name, each in list(self._coming.items()):
            if _is_readable(each.starter):
                del self._coming[name]
                self._begin(name, each)
            elif time.monotonic() - each.since > _STALLED_S:
                del self._coming[name]
                each.starter.close()
                self.refusals.append(f"the agent on {each.facts.get('node')} has not loaded the program")

    def forget(self, host: Host) -> None:
        """Close the connections of a lost host."""
        assert isinstance(host.starter, RemoteStarter)
        host.starter.close()
        self._hosts = {name: each for name, each in self._hosts.items() if each is not host.starter}

    def close(self) -> None:
        """Disconnect all agents."""
        self._listener.close()
        for starter in (*self._hosts.values(), *(each.starter for each in self._coming.values())):
            starter.close()
        self._hosts.clear()
        self._coming.clear()

    def _admit(self, connection: socket.socket, hello: dict[str, Any]) -> None:
        name = str(hello.get("agent"))
        if hello.get("role") == "job":
            known = self._coming.get(name)
            starter = self._hosts.get(name) if known is None else known.starter
            if starter is None:
                connection.close()
            else:
                starter.add_spare(int(hello["spare"]), connection)
            return
        facts = {str(key): str(value) for key, value in dict(hello.get("facts") or {}).items()}
        if not self.takes():
            connection.close()  # the agent ends when the connection closes
            return
        why = _mismatch(hello.get("versions"))
        if why is not None:
            connection.close()
            self.refusals.append(f"{facts.get('node')} cannot run jobs of this launcher: {why}")
            return
        starter = RemoteStarter(connection)
        starter.send_program(self._payload)
        self._coming[name] = _Coming(starter, facts)

    def _begin(self, name: str, each: _Coming) -> None:
        report = each.starter.report()
        node = each.facts.get("node", "")
        if report is None or report[0] != "ready":
            why = "it has ended" if report is None else str(report[1])
            self.refusals.append(f"the agent on {node} cannot run jobs: {why}")
            each.starter.close()
            return
        slots: list[Slot] = report[1]
        each.starter.is_seen = each.facts.get("locks") != UNSEEN
        self._hosts[name] = each.starter
        self.ready.append(
            Host(node, each.starter, SlotPool(slots), lambda channel: None, each.facts, has_room=each.starter.has_spare)
        )


def _is_readable(starter: RemoteStarter) -> bool:
    return bool(select.select([starter], [], [], 0)[0])


def _mismatch(there: Any) -> str | None:
    """Return which version differs on the agent; all must agree, since configs and results are sent as pickles."""
    if not isinstance(there, dict):
        return "it reports no versions"
    here = versions()
    differing = [f"{name} {there.get(name)} there, {here[name]} here" for name in here if there.get(name) != here[name]]
    return "; ".join(differing) + "; use one environment" if differing else None
