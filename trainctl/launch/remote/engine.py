"""The executor of a cluster: agents that an engine starts, as many as the jobs that are left can use."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from trainctl.compose.job import SweepContext
from trainctl.launch.executor import Host
from trainctl.launch.local.payload import pack_context
from trainctl.launch.remote.hosts import Agents
from trainctl.launch.settings import LauncherSettings
from trainctl.rundir import files
from trainctl.rundir.paths import own_dir

_LOOK_S = 2.0  # between two questions to the engine while something is waited for
_CALM_S = 30.0  # while all is well
_MOST_LOST = 3  # agents in a row of which nothing was heard


class Engine(Protocol):
    """The interface of a cluster engine such as Slurm or Ray. An agent is identified by the engine's id of its devices.

    Attributes:
        name: as people write it.
        slots_each: how many jobs an agent runs at once, as far as is known beforehand.
        most: agents at once.
        jobs_each: after how many jobs an agent ends; None: when none are left.
        notice_s: between the word that an agent is about to be ended, and its end.
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
        """Return the ids of waiting and running agents."""
        ...

    def why_ended(self, agent: str) -> str:
        """Return how an agent ended, as the end of a sentence."""
        ...

    def last_words(self, agent: str) -> str:
        """Return the last line that an agent has written; empty if there is none."""
        ...

    def close(self) -> None:
        """Release everything that was requested."""
        ...


class AgentExecutor:
    """Hosts by agents: `Agents` hears of them, the engine is asked for more and says what became of them."""

    def __init__(self, engine: Engine, agents: Agents, address: Path) -> None:
        self._engine = engine
        self._address = address
        self._agents = agents
        self._alive: set[str] = set()
        self._met: set[str] = set()  # whose agents have come
        self._lost = 0
        self._looked = -math.inf
        self._left = 0
        self.notice_s, self.most_moves = engine.notice_s, engine.most_moves
        self.threads: Mapping[str, str] = {}  # each agent sees to it
        self.hosts: list[Host] = []
        agents.takes = lambda: self._left > 0

    @property
    def obstacle(self) -> str | None:
        """Why no further host will come; None while one may."""
        return self._engine.obstacle

    @property
    def patience_s(self) -> float | None:
        """Seconds after which to look though nothing has been heard."""
        wait = _CALM_S if self.hosts and not self._left else _LOOK_S
        return max(0.0, self._looked + wait - time.monotonic())

    def memory(self) -> dict[str, tuple[float, float]]:
        return {}

    def filenos(self) -> Sequence[int]:
        return self._agents.filenos()

    def look(self, left: int) -> Sequence[str]:
        """Take in agents that have come, ask the engine about the others, and have it start what the jobs can use."""
        self._left = left
        lines = self._hear()
        if time.monotonic() - self._looked < _LOOK_S * 0.9:
            return lines
        self._looked = time.monotonic()
        self._release(left)
        before, self._alive = self._alive, self._engine.alive()
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
                self._alive = self._engine.alive()
        return lines

    def why_lost(self, host: Host) -> str:
        name = host.engine["id"]
        return f"ended with its host {host.name} ({self._engine.name} {name}): {self._engine.why_ended(name)}"

    def close(self) -> None:
        """End all agents, and cancel those that have not begun."""
        self._address.unlink(missing_ok=True)
        self._agents.close()
        self.hosts.clear()
        self._engine.close()

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
        """Return how many agents the remaining and running jobs can use."""
        staying = [host for host in self.hosts if not host.is_full]
        free = sum(host.pool.free for host in staying)
        return len(staying) + math.ceil(max(0, left - free) / (self._engine.jobs_each or self._engine.slots_each))


def executor_of(
    name: str, make_engine: Callable[[Path], Engine]
) -> Callable[[SweepContext, LauncherSettings, Path], AgentExecutor]:
    """Return what makes the executor of a sweep: it listens for agents, and writes down where, for the engine's agents.

    Args:
        name: of the engine's directory below `.trainctl/` of the sweep.
        make_engine: gets the file with the address, which the next launcher writes again for agents that wait.
    """

    def make(context: SweepContext, settings: LauncherSettings, sweep_dir: Path) -> AgentExecutor:  # noqa: ARG001
        address = own_dir(sweep_dir) / name / "launcher.json"
        agents = Agents(pack_context(context))
        try:
            address.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.write_atomic(address, agents.address.text())
            return AgentExecutor(make_engine(address), agents, address)
        except BaseException:
            agents.close()
            raise

    return make
