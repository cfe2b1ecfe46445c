"""One round of faults: a sweep, signals at drawn moments to drawn processes, and the same command again.

Everything that is drawn comes from the seed. When a signal arrives still depends on the machine, so a round that failed
prints what it did and when.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml as pyyaml
from sweep_app import App, wait_until
from training_app import result_of

from trainctl.rundir.paths import RunDir
from trainctl.rundir.result import read_result, stored_result
from trainctl.rundir.status import read_status, state_of

FIRST = int(os.environ.get("TRAINCTL_FAULT_SEED", "0"))
ROUNDS = int(os.environ.get("TRAINCTL_FAULT_ROUNDS", "6"))

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Hit:
    """A signal to a process. Where there is no such process yet, the one that is to make it is hit.

    Attributes:
        moment: what must have happened before: `begin` (of the command), `start` or `end` (of so many jobs), `write`
            (somebody is just writing a file of a run).
        count: of jobs, for `start` and `end`.
        delay_s: from that moment.
        choice: from 0 to 1, which of the jobs' processes.
    """

    victim: str
    signal: signal.Signals
    moment: str
    count: int
    delay_s: float
    choice: float


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    jobs: int
    start: str
    family: bool
    hits: tuple[Hit, ...]

    @classmethod
    def draw(cls, seed: int) -> Plan:
        draw = random.Random(seed)
        start = "spawn" if draw.random() < 0.1 else "fork"
        hits = tuple(draw_hit(draw) for _ in range(draw.choice([1, 1, 2, 3])))
        # Children of a job outlive it when those who would end them, launcher and zygote, are killed together.
        killed = {hit.victim for hit in hits if hit.signal is signal.SIGKILL}
        family = draw.random() < 0.3 and "zygote" not in killed and len(hits) == 1
        return cls(seed, draw.randint(6, 8) if start == "fork" else 4, start, family, hits)

    def command(self) -> list[str]:
        return [
            f"x=range(0,{self.jobs})",
            f"family={self.family}",
            "hydra.launcher.slots=2",
            "hydra.launcher.grace_s=1",
            f"hydra.launcher.start={self.start}",
        ]


def draw_hit(draw: random.Random) -> Hit:
    moment = draw.choice(["begin", "start", "start", "end", "end", "write"])
    longest_s = {"begin": 1.2, "start": draw.choice([0.0, 0.02, 0.3]), "end": draw.choice([0.0, 0.005, 0.05])}
    return Hit(
        victim=draw.choice(["launcher", "zygote", "job", "job"]),
        signal=draw.choice(SIGNALS),
        moment=moment,
        count=draw.randint(1, 5),
        delay_s=draw.uniform(0, longest_s.get(moment, 0.0)),
        choice=draw.random(),
    )


class Round:
    """A plan carried out on an app."""

    def __init__(self, app: App, plan: Plan) -> None:
        self.app = app
        self.plan = plan
        self.to_launcher: list[signal.Signals] = []
        self.lost_zygote = False
        self._begun = time.monotonic()

    def run(self) -> None:
        """Carry it out and check what must hold, whatever was hit and whenever."""
        print(self.plan)
        launcher = self.app.start(*self.plan.command())
        for hit in self.plan.hits:
            self._wait_for(hit, launcher)
            self._strike(hit, launcher)
        output, _ = launcher.communicate(timeout=120)
        self._say(f"the launcher ended {launcher.returncode} and said:\n{output}")
        wait_until(lambda: not self.app.processes(), "no process is left")
        done = self._done()
        earlier = Counter(self.app.ran())
        assert launcher.returncode in self._codes(output, done)
        assert max((earlier[f"start {x}"] for x in self._all), default=0) <= 1
        check_files(self.app.sweep)
        again = self.app.run(*self.plan.command())
        self._say(f"again: {again.returncode}\n{again.stdout}{again.stderr}")
        assert again.returncode == 0
        self._check_the_end(done, Counter(self.app.ran()) - earlier)

    @property
    def _all(self) -> range:
        return range(self.plan.jobs)

    def _check_the_end(self, done: set[int], again: Counter[str]) -> None:
        """What was done did not run again, what was not ran once, each in its own directory."""
        ran = {f"{word} {x}": 1 for x in self._all if x not in done for word in ("start", "end")}
        assert again == ran
        assert self._done() == set(self._all)
        assert {path.name for path in self.app.sweep.iterdir() if path.is_dir()} == {
            ".trainctl",
            *(str(x) for x in self._all),
        }
        for x in self._all:
            run = RunDir.at(self.app.sweep / str(x))
            assert not stored_result(run).loss
            assert read_result(run) == result_of(x)
        check_files(self.app.sweep, hydra_too=True)
        leftovers = [str(path) for path in self.app.sweep.rglob("*") if path.name.endswith(".tmp")]
        assert leftovers == []
        wait_until(lambda: not self.app.processes(), "no process is left")

    def _done(self) -> set[int]:
        done = set()
        for x in self._all:
            run = RunDir.at(self.app.sweep / str(x))
            status = read_status(run)
            if status is not None and status.state == "done":
                assert state_of(run) == "done"
                assert not stored_result(run).loss, f"{run.path} is done and has no value"
                done.add(x)
        return done

    def _codes(self, output: str, done: set[int]) -> set[int]:
        """Return the exit codes that are right: of a signal that it got, or 0 if all is done, else 1."""
        codes = {-number for number in self.to_launcher}
        codes |= {128 + number for number in self.to_launcher if number is not signal.SIGKILL}
        has_left_some = "not finished: the same command resumes" in output
        if not self.to_launcher or not has_left_some or self.lost_zygote:
            codes.add(0 if len(done) == self.plan.jobs else 1)
        return codes

    def _wait_for(self, hit: Hit, launcher: subprocess.Popen[str]) -> None:
        """Wait for the moment of a hit, or the end of the launcher."""
        happened = self._watch(hit)
        deadline = time.monotonic() + 60
        while not happened() and launcher.poll() is None:
            assert time.monotonic() < deadline, f"waited in vain for the moment of {hit}"
        time.sleep(hit.delay_s)

    def _watch(self, hit: Hit) -> Callable[[], bool]:
        if hit.moment == "begin":
            return lambda: True
        if hit.moment == "write":
            return lambda: any(name.endswith(".tmp") for run in folders(self.app.sweep) for name in names(run))

        def has_happened() -> bool:
            time.sleep(0.001)
            return sum(line.startswith(hit.moment) for line in self.app.ran()) >= hit.count

        return has_happened

    def _strike(self, hit: Hit, launcher: subprocess.Popen[str]) -> None:
        victim, pid = find_victim(hit, launcher.pid)
        if victim == "launcher":
            if launcher.poll() is not None:
                self._say("the launcher has ended already")
                return
            self.to_launcher.append(hit.signal)
        self.lost_zygote |= victim == "zygote"
        self._say(f"{hit.signal.name} to {victim} {pid}; {self.app.ran()[-3:]}")
        try:
            os.kill(pid, hit.signal)
        except ProcessLookupError:
            self._say("which has ended already")

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._begun:7.3f} {text}")


def find_victim(hit: Hit, launcher: int) -> tuple[str, int]:
    """Return which process is hit: the one that is asked for, else its parent."""
    children = children_of(launcher) if hit.victim != "launcher" else []
    if not children:
        return "launcher", launcher
    jobs = children_of(children[0]) if hit.victim == "job" else []
    if not jobs:
        return "zygote", children[0]
    return "job", jobs[int(hit.choice * len(jobs))]


def children_of(pid: int) -> list[int]:
    """Return the children of a single-threaded process, at once: psutil would look at all processes."""
    try:
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def names(path: Path) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def folders(sweep: Path) -> list[Path]:
    return [sweep / name for name in names(sweep) if name.isdecimal()]


def check_files(sweep: Path, *, hydra_too: bool = False) -> None:
    """Every file that is ours is whole, whoever was killed writing it; Hydra's own are once a job has ended there."""
    for path in sweep.rglob("*"):
        of_hydra = ".hydra" in path.parts or path.name == "multirun.yaml"
        if not path.is_file() or path.name.endswith(".tmp") or (of_hydra and not hydra_too):
            continue
        if path.suffix in (".yaml", ".json"):
            assert isinstance(parse(path, pyyaml.safe_load), dict | list), f"{path} holds nothing"
        elif path.suffix == ".jsonl":
            for line in path.read_text().splitlines():
                assert isinstance(parse_line(path, line), dict)


def parse(path: Path, load: Callable[[str], Any]) -> Any:
    try:
        return load(path.read_text())
    except (pyyaml.YAMLError, ValueError) as error:
        raise AssertionError(f"{path} is not whole: {error}") from error


def parse_line(path: Path, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise AssertionError(f"{path} has half a line: {line!r}") from error
