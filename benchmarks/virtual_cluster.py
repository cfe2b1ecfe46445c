"""A cluster and a clock that are none: the launcher's own loop runs its jobs, in seconds instead of days."""

from __future__ import annotations

import heapq
import itertools
import random
import selectors
import signal
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from trainctl.compose.job import JobSpec
from trainctl.launch import jobs as job_processes
from trainctl.launch import queue, sweep
from trainctl.launch.display.report import Report
from trainctl.launch.executor import FixedHosts, Host
from trainctl.launch.local.channel import ChannelClosed
from trainctl.launch.returns import pack_return
from trainctl.launch.settings import check_settings
from trainctl.launch.slots.pool import SlotPool
from trainctl.launch.slots.slot import Slot

COMPOSE_S, BEGIN_S, END_S = 0.05, 0.005, 0.01  # of a job's process, as measured on a node
SIGMA, MEDIAN_S = 0.8, 600.0
FAILURES = 0.05


class Clock:
    """The time, and what will happen at which time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._coming: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._coming, (self.now + seconds, next(self._numbers), act))

    def step(self, until: float) -> bool:
        """Let the next thing happen, unless it comes later than `until`; say whether there was one."""
        if not self._coming or self._coming[0][0] > until:
            self.now = max(self.now, until if until < float("inf") else self.now)
            return False
        self.now, _, act = heapq.heappop(self._coming)
        act()
        return True


class End:
    """One end of a connection, known by a number as a file descriptor is."""

    numbers = itertools.count(1 << 20)

    def __init__(self, cluster: VirtualCluster) -> None:
        self._cluster = cluster
        self._number = next(self.numbers)
        self._messages: deque[tuple[Any, ...]] = deque()
        self.on_message: Callable[[tuple[Any, ...]], None] = lambda message: None
        self.on_close: Callable[[], None] = lambda: None

    def fileno(self) -> int:
        return self._number

    def tell(self, *message: Any) -> None:
        """Have the launcher receive something."""
        self._messages.append(message)
        self._cluster.readable.add(self._number)

    def receive(self) -> tuple[Any, ...]:
        if not self._messages:
            raise ChannelClosed
        message = self._messages.popleft()
        if not self._messages:
            self._cluster.readable.discard(self._number)
        return message

    report = receive

    def send(self, *message: Any) -> None:
        self.on_message(message)

    def close(self) -> None:
        self._messages.clear()
        self._cluster.readable.discard(self._number)
        self.on_close()


class Selector:
    """A selector of such ends: what nobody has sent yet is made to happen."""

    def __init__(self, cluster: VirtualCluster) -> None:
        self._cluster = cluster
        self._known: dict[int, Any] = {}

    def register(self, descriptor: int, _: int, data: Any) -> None:
        self._known[descriptor] = data

    def unregister(self, descriptor: int) -> None:
        del self._known[descriptor]

    def select(self, timeout_s: float | None = None) -> list[tuple[Any, int]]:
        begun = process_time()
        until = float("inf") if timeout_s is None else self._cluster.clock.now + timeout_s
        readable = self._cluster.readable
        while not (ready := [each for each in readable if each in self._known]) and self._cluster.clock.step(until):
            pass
        self._cluster.loop_s -= process_time() - begun  # what the cluster itself costs is not the loop's
        return [(SimpleNamespace(data=self._known[each]), 1) for each in ready]

    def get_map(self) -> dict[int, Any]:
        return {descriptor: SimpleNamespace(data=data) for descriptor, data in self._known.items()}

    def close(self) -> None:
        self._known.clear()


@dataclass
class Starter(End):
    """The agent of one node."""

    cluster: VirtualCluster
    ends: dict[int, End] = field(default_factory=dict)

    def __post_init__(self) -> None:
        End.__init__(self, self.cluster)

    def start(self, number: int) -> End:
        end = self.ends[number] = End(self.cluster)
        self.cluster.after(COMPOSE_S, lambda: end.tell("armed", "/nowhere"))
        end.on_message = lambda message: self._begin(number, end) if isinstance(message[0], Slot) else None
        end.on_close = lambda: self.cluster.after(END_S, lambda: self.tell("exited", number, 0))
        self.tell("forked", number, 1)
        return end

    def _begin(self, number: int, end: End) -> None:
        end.on_close = lambda: None
        seconds, has_failed = self.cluster.attempt(number)
        self.cluster.after(BEGIN_S, lambda: end.tell("started", f"/nowhere/{number}", 1, ""))
        self.cluster.after(BEGIN_S + seconds, lambda: self._end(number, end, has_failed))

    def _end(self, number: int, end: End, has_failed: bool) -> None:
        if not has_failed:
            end.tell("idle")
            end.tell("ended", None, self.cluster.returned, "")
        self.cluster.after(END_S, lambda: self.tell("exited", number, signal.SIGKILL if has_failed else 0))

    def signal(self, number: int, signal_number: int) -> None:
        """Nobody is to be ended here."""

    def tell_run(self, number: int, path: Path) -> None:
        """Nobody asks for anything."""


class VirtualCluster(FixedHosts):
    """Nodes of 8 devices. It is the executor of a sweep, and knows how long each attempt of a job takes."""

    def __init__(self, jobs: int, gpus: int, *, seed: int = 1) -> None:
        super().__init__()
        drawn = random.Random(seed)
        self.clock = Clock()
        self.after = self.clock.after
        self.readable: set[int] = set()
        self.attempts = [_attempts(drawn) for _ in range(jobs)]
        self._tried = [0] * jobs
        self.begun: list[tuple[int, int]] = []  # attempts by number of job and of attempt, in the order of their begin
        parser = OverridesParser.create()
        self._specs = [
            JobSpec(number, tuple(parser.parse_overrides([f"lr={number}"])), frozenset({"lr"}))
            for number in range(jobs)
        ]
        self.loop_s = 0.0
        self.returned = pack_return(_returned(), forked=True)
        sizes = [8] * (gpus // 8) + ([gpus % 8] if gpus % 8 else [])
        self.hosts = [
            Host(
                f"node-{node}",
                Starter(self),
                SlotPool([Slot(f"{node}:{gpu}", (), gpu) for gpu in range(size)], clock=lambda: self.clock.now),
                lambda channel: None,
            )  # type: ignore[arg-type]
            for node, size in enumerate(sizes)
        ]

    def attempt(self, number: int) -> tuple[float, bool]:
        """Return how long the next attempt of a job takes, and whether it fails."""
        place = self._tried[number]
        self.begun.append((number, place))
        self._tried[number] += 1
        return self.attempts[number][place], place + 1 < len(self.attempts[number])

    def run(self) -> list[JobReturn]:
        """Run all jobs by the launcher's loop; `loop_s` is the processor time that the loop itself has taken."""
        specs, settings = self._specs, check_settings(retries=100, progress="off")
        config = OmegaConf.create({"hydra": {}})
        presence = SimpleNamespace(is_alone=lambda: True, asked=lambda: None, patience_s=None)
        make = lambda: sweep.Sweep(  # noqa: E731
            self, specs, Report(len(specs), silent=True), settings, presence=presence, config=config
        )  # type: ignore[arg-type]
        time = SimpleNamespace(monotonic=lambda: self.clock.now)
        readable = lambda ends, *_: ([each for each in ends if each.fileno() in self.readable], [], [])  # noqa: E731
        select = SimpleNamespace(select=readable)
        with ExitStack() as stack:
            for module in (sweep, queue, job_processes):
                stack.enter_context(patch.object(module, "time", time))
            stack.enter_context(patch.object(sweep, "select", select))
            stack.enter_context(patch.object(selectors, "DefaultSelector", lambda: Selector(self)))
            begun = process_time()
            returns = make().run()
            self.loop_s += process_time() - begun
        return returns

    def greedy(self, gpus: int, order: Sequence[tuple[int, int]] | None = None) -> float:
        """Return the makespan if each device that is free begins the next attempt at once (greedy list scheduling).

        Args:
            gpus: how many devices there are.
            order: of the attempts; None: jobs in their order, and a failed job again before those that have not begun.
        """
        left = deque(order if order is not None else [(number, 0) for number in range(len(self.attempts))])
        failed_at = [0.0] * len(self.attempts)
        again: list[tuple[float, int, int]] = []
        free = [0.0] * gpus
        while left or again:
            now = heapq.heappop(free)
            if again and (again[0][0] <= now or not left):
                _, number, place = heapq.heappop(again)
            else:
                number, place = left.popleft()
            end = failed_at[number] = max(now, failed_at[number]) + self.attempts[number][place]
            heapq.heappush(free, end)
            if order is None and place + 1 < len(self.attempts[number]):
                heapq.heappush(again, (end, number, place + 1))
        return max(free)

    def bound(self, gpus: int) -> float:
        """Return what no schedule can beat: all work shared evenly, or the longest job with all of its attempts."""
        work = [sum(each) for each in self.attempts]
        return max(sum(work) / gpus, *work)


def _attempts(drawn: random.Random) -> list[float]:
    whole = drawn.lognormvariate(0.0, SIGMA) * MEDIAN_S
    failed = []
    while drawn.random() < FAILURES:
        failed.append(whole * drawn.random())
    return [*failed, whole]


def _returned() -> JobReturn:
    returned = JobReturn(overrides=["lr=1"], cfg=OmegaConf.create({"lr": 1}), task_name="train")
    returned.return_value, returned.status = 0.1, JobStatus.COMPLETED
    return returned
