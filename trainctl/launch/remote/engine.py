"""The executor of a cluster: agents that an engine starts, as many as the jobs that are left can use."""

from __future__ import annotations

import itertools
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from trainctl.attempt.host import start_thread
from trainctl.compose.job import SweepContext
from trainctl.launch.executor import Host
from trainctl.launch.local.payload import pack_context
from trainctl.launch.remote.hosts import Agents, RemoteStarter
from trainctl.launch.remote.wire import SEEN, UNSEEN, addresses_in
from trainctl.launch.settings import LauncherSettings
from trainctl.rundir import files
from trainctl.rundir.beat import EVERY_S, Beat, Beating, is_beating
from trainctl.rundir.paths import own_dir
from trainctl.rundir.status import process_started
from trainctl.rundir.sweep import Backlog, Queued, write_backlog

_LOOK_S = 2.0  # between two questions to the engine while something is waited for
_CALM_S = 30.0  # while all is well
_GONE_S = 120.0  # an agent that does not hear its launcher for `wire._SILENT_S` ends
_UNUSUAL_S = 10.0  # in the queue, after which people are told why
_MOST_LOST = 3  # agents in a row of which nothing was heard


class Engine(Protocol):
    """The interface of a cluster engine such as Slurm or Ray. The engine gives each agent an id.

    Attributes:
        name: as users write it.
        slots_each: how many jobs an agent is expected to run at once.
        most: the most agents at once.
        jobs_each: the jobs that an agent runs before it ends; None for no limit.
        notice_s: seconds between the notice that an agent is about to end, and its end.
        most_moves: how often a job that lost its agent goes on with another one.
        obstacle: why no further agent can come; None while one may.
    """

    name: str
    slots_each: int
    most: int
    jobs_each: int | None
    notice_s: float
    most_moves: int
    obstacle: str | None

    def submit(self, count: int) -> list[str]:
        """Request more agents; return lines to show."""
        ...

    def alive(self) -> set[str]:
        """Return the ids of waiting and running agents. It may take seconds, and is called in a thread of its own."""
        ...

    def queued(self, agent: str) -> Queued | None:
        """Return how an agent waited when `alive` was last asked; None if it did not wait."""
        ...

    def may_live(self, agent: str) -> bool:
        """Whether processes of an agent may still exist."""
        ...

    def why_ended(self, agent: str) -> str:
        """Return how an agent ended, as the end of a sentence."""
        ...

    def last_words(self, agent: str) -> str:
        """Return the last line that an agent has printed; empty if there is none."""
        ...

    def close(self, *, is_last: bool) -> None:
        """Give the devices back; `is_last`: no other launcher of the sweep uses them."""
        ...


class AgentExecutor:
    """Hosts on which agents run: `Agents` connects to them, and the engine starts and ends them."""

    def __init__(self, engine: Engine, agents: Agents, address: Path, sweep_dir: Path) -> None:
        self._engine = engine
        self._address = address
        self._sweep_dir = sweep_dir
        self._others = 0  # launchers of the sweep beside this one
        self._backlog: Backlog | None = None
        self._told: set[str] = set()
        self._asked = time.monotonic()  # when agents were last requested
        self._beating = Beating(address, self._stall)
        self._agents = agents
        self._alive: set[str] = set()
        self._met: set[str] = set()  # whose agents have come
        self._lost = 0
        self._looked = -math.inf
        self._question: _Question | None = None
        self._left = 0
        self.notice_s, self.most_moves = engine.notice_s, engine.most_moves
        self.threads: Mapping[str, str] = {}  # each agent sees to it
        self.hosts: list[Host] = []
        agents.takes = lambda: self._left > 0

    @property
    def obstacle(self) -> str | None:
        """Why no more hosts will come; None while one may."""
        return self._engine.obstacle

    @property
    def patience_s(self) -> float | None:
        """Seconds after which to call `look` without an event."""
        if self._question is not None:
            return _LOOK_S  # its answer wakes the launcher
        wait = _CALM_S if self.hosts and not self._left and not self._lost_hosts() else _LOOK_S
        return max(0.0, self._looked + wait - time.monotonic())

    def memory(self) -> dict[str, tuple[float, float]]:
        return {}

    def filenos(self) -> Sequence[int]:
        return [*self._agents.filenos(), *([self._question.fileno()] if self._question is not None else [])]

    def look(self, left: int) -> Sequence[str]:
        """Take in agents that have come, ask the engine about the others, and have it start what the jobs can use."""
        self._left = left
        lines = self._hear()
        if self._question is None and time.monotonic() - self._looked >= _LOOK_S * 0.9:
            self._looked = time.monotonic()
            self._release(left)
            self._question = _Question(self._engine.alive)
        if self._question is not None and self._question.is_answered:
            question, self._question = self._question, None
            lines += self._heed(question.answer(), question.asked, left)
        return lines

    def _heed(self, alive: set[str], asked: float, left: int) -> list[str]:
        """Act on which agents there were at a time (monotonic seconds); return lines to show."""
        lines = []
        before, self._alive = self._alive, alive
        for starter, name in self._lost_hosts():
            since = starter.lost_at or 0.0
            if (since < asked and not self._engine.may_live(name)) or time.monotonic() - since > _GONE_S:
                starter.give_up()
        others, self._others = self._others, self._count_others()
        if others or self._others:
            self._met |= before | self._alive  # they may work for another launcher
        for ended in sorted(before - self._alive - self._met):
            self._lost += 1
            said = self._engine.last_words(ended) or self._engine.why_ended(ended)
            lines.append(f"ERROR {self._engine.name} {ended} ended before its agent connected: {said}")
        if self._lost >= _MOST_LOST and not self.hosts:
            self._engine.obstacle = f"agents on {self._engine.name} end before they connect"
        elif left and self._engine.obstacle is None:
            count = min(self._wanted(left), self._engine.most) - len(self._alive)
            if count > 0:
                lines += self._engine.submit(count)
                self._asked = time.monotonic()
                self._alive = self._engine.alive()
        queued = [each for each in map(self._engine.queued, sorted(self._alive - self._met)) if each is not None]
        self._write_backlog(left, queued)
        return lines + self._say_why_queued(queued)

    def _say_why_queued(self, queued: Sequence[Queued]) -> list[str]:
        """Return a line for each new reason why agents wait, once they have waited for a while."""
        if time.monotonic() - self._asked < _UNUSUAL_S:
            return []
        whys = {each.why for each in queued} - self._told - {"", "None"}
        self._told |= whys
        lines = []
        for why in sorted(whys):
            first, *others = [each for each in queued if each.why == why]
            more = f" and {len(others)} more" if others else ""
            lines.append(f"queued: {', '.join(filter(None, (f'{first.id}{more}', first.place, why)))}")
        return lines

    def _lost_hosts(self) -> list[tuple[RemoteStarter, str]]:
        """Return the lost hosts whose jobs may still run, each with its id."""
        hosts = [(each.starter, each.engine["id"]) for each in self.hosts if isinstance(each.starter, RemoteStarter)]
        return [(starter, name) for starter, name in hosts if starter.lost_at is not None]

    def _say_of_locks(self, host: Host) -> list[str]:
        """Return a line, once, on how this machine knows that a run is running on another one."""
        locks = host.engine.get("locks")
        if host.name == socket.gethostname() or locks in self._told:
            return []
        self._told.add(str(locks))
        if locks == SEEN:
            return [f"runs on {host.name} are known by their locks, which are seen here"]
        told = (
            f"locks are not seen between {host.name} and this machine: its runs count as running while this launcher "
            f"touches {self._address.name} every {EVERY_S:g} s, or {self._engine.name} says that they may"
        )
        return [told]

    def why_lost(self, host: Host) -> str:
        name = host.engine["id"]
        return f"ended with its host {host.name} ({self._engine.name} {name}): {self._engine.why_ended(name)}"

    def close(self) -> None:
        """End all agents, and cancel those that have not begun."""
        self._address.unlink(missing_ok=True)
        self._beating.close()
        if self._question is not None:
            self._question.close()
        self._agents.close()
        self.hosts.clear()
        is_last = not self._count_others()
        self._engine.close(is_last=is_last)
        if is_last:
            write_backlog(self._sweep_dir, None)

    def _stall(self) -> None:
        """End the sweep after a stall: where locks are not seen, other launchers may have taken its jobs."""
        if any(host.engine.get("locks") == UNSEEN for host in self.hosts):
            os.kill(os.getpid(), signal.SIGTERM)

    def _count_others(self) -> int:
        others = [each for each in addresses_in(self._address.parent) if each != self._address]
        return sum(is_beating(Beat(str(each)), surely=True) for each in others)

    def _write_backlog(self, left: int, queued: list[Queued]) -> None:
        """Write for others what waits in the queue, if it has changed."""
        last = self._backlog
        now = Backlog(time.time(), left, queued) if queued else None
        if (last and (last.jobs, last.queued)) != (now and (now.jobs, now.queued)):
            write_backlog(self._sweep_dir, now)
            self._backlog = now

    def _hear(self) -> list[str]:
        self._agents.hear()
        lines = [f"ERROR {each}" for each in self._agents.refusals]
        self._agents.refusals.clear()
        for host in self._agents.ready:
            self._lost = 0
            self._met.add(host.engine["id"])
            host.most = self._engine.jobs_each
            self.hosts.append(host)
            slots = len(host.pool.slots)
            place = f"{host.name} ({self._engine.name} {host.engine['id']})"
            lines.append(f"HOST  {place}: {slots} slot{'s' * (slots > 1)}")
            lines += self._say_of_locks(host)
        self._agents.ready.clear()
        return lines

    def _release(self, left: int) -> None:
        """End idle hosts while jobs run elsewhere."""
        is_busy = any(host.jobs for host in self.hosts)
        for host in [each for each in self.hosts if not each.jobs]:
            if host.is_full or (is_busy and not left):
                self.hosts.remove(host)
                self._agents.forget(host)

    def _wanted(self, left: int) -> int:
        """Return how many agents the waiting and running jobs can use."""
        staying = [host for host in self.hosts if not host.is_full]
        free = sum(host.pool.free for host in staying)
        return len(staying) + math.ceil(max(0, left - free) / (self._engine.jobs_each or self._engine.slots_each))


class _Question:
    """A question to the engine, asked in a thread, so that no device idles while a busy controller thinks.

    Attributes:
        asked: when, in monotonic seconds.
        is_answered: `answer` returns at once.
    """

    def __init__(self, ask: Callable[[], set[str]]) -> None:
        self.asked = time.monotonic()
        self.is_answered = False
        self._ask = ask
        self._found: set[str] | Exception = set()
        self._read, self._write = os.pipe()
        start_thread(threading.Thread(target=self._run, name="trainctl-engine", daemon=True), "the look at the cluster")

    def fileno(self) -> int:
        """Readable once it is answered."""
        return self._read

    def answer(self) -> set[str]:
        """Return the answer, or raise what the engine has raised."""
        self.close()
        if isinstance(self._found, Exception):
            raise self._found
        return self._found

    def close(self) -> None:
        """Hear no more of it."""
        os.close(self._read)

    def _run(self) -> None:
        try:
            self._found = self._ask()
        except Exception as error:  # noqa: BLE001  # whatever it is, the launcher is to meet it
            self._found = error
        self.is_answered = True
        os.close(self._write)


_numbers = itertools.count(1)  # one process may have several executors


def _forget_the_dead(directory: Path) -> None:
    """Remove the addresses of launchers of this machine that were killed."""
    for path in addresses_in(directory):
        host, _, pid = path.stem.rpartition("-")[0].rpartition("-")
        if host == socket.gethostname() and pid.isdecimal() and process_started(int(pid)) is None:
            path.unlink(missing_ok=True)


def executor_of(
    name: str, make_engine: Callable[[Path], Engine]
) -> Callable[[SweepContext, LauncherSettings, Path], AgentExecutor]:
    """Return the function that makes the executor of a sweep: it listens for agents and writes down where.

    Args:
        name: of the engine's directory below `.trainctl/` of the sweep.
        make_engine: gets the file with the address. Those of all launchers of the sweep lie in one directory, so that
            an agent that has waited works for any of them.
    """

    def make(context: SweepContext, settings: LauncherSettings, sweep_dir: Path) -> AgentExecutor:  # noqa: ARG001
        directory = own_dir(sweep_dir) / name / "launchers"
        address = directory / f"{socket.gethostname()}-{os.getpid()}-{next(_numbers)}.json"
        agents = Agents(pack_context(context))
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _forget_the_dead(directory)
            files.write_atomic(address, agents.address.text())
            return AgentExecutor(make_engine(address), agents, address, sweep_dir)
        except BaseException:
            agents.close()
            raise

    return make
