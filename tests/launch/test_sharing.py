"""No device is held beyond what was asked, across launchers, with real locks of real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from trainctl.launch.slots.host_locks import HostLocks, Taken

ROOT = Path(__file__).resolve().parents[2]

LAUNCHER = """
import collections, itertools, json, pathlib, sys
from trainctl.launch.slots.host_locks import HostLocks
from trainctl.launch.slots.pool import SlotPool
from trainctl.launch.slots.slot import Slot

pool = None
for line in sys.stdin:
    command, *values = json.loads(line)
    answer = None
    if command == "new":
        entries, share, directory = values
        if pool is not None:
            pool.close()
        slots = [Slot(entry, tuple(entry.split(",")), number) for number, entry in enumerate(entries)]
        most = collections.Counter(device for slot in slots for device in slot.devices)
        locks = HostLocks({device: 0 if share else n for device, n in most.items()}, directory=pathlib.Path(directory))
        pool = SlotPool(slots, locks=locks, clock=itertools.count(0, 100).__next__)  # never waits to look again
    elif command == "take":
        slot = pool.take()
        answer = None if slot is None else slot.number
    elif command == "places":
        answer = slot.places
    else:
        pool.give_back(pool.slots[values[0]])
    print(json.dumps(answer), flush=True)
"""

JOB = """
import sys
from trainctl.launch.slots.host_locks import keep

keep(sys.argv[1:])
print("kept", flush=True)
sys.stdin.read()
"""


class Launcher:
    """A pool in a process of its own."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def ask(self, *command: Any) -> Any:
        if self.process is None:
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(
                [sys.executable, "-c", LAUNCHER], stdin=pipe, stdout=pipe, text=True, cwd=ROOT
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@pytest.fixture(scope="module")
def launchers() -> Iterator[list[Launcher]]:
    processes = [Launcher(), Launcher(), Launcher()]
    yield processes
    for launcher in processes:
        launcher.kill()


class Model:
    """What may be held: on each device no more jobs than any launcher that holds it, and shares not, asked for."""

    def __init__(self, plans: list[tuple[list[str], bool]]) -> None:
        self.entries = [entries for entries, _ in plans]
        self.shares = [share for _, share in plans]
        self.held: list[set[int]] = [set() for _ in plans]

    def most(self, launcher: int, device: str) -> int:
        return sum(device in entry.split(",") for entry in self.entries[launcher])

    def may_take(self, launcher: int, number: int) -> bool:
        if self.shares[launcher]:
            return True
        for device in self.entries[launcher][number].split(","):
            holders = Counter(
                each
                for each in range(len(self.held))
                for slot in self.held[each]
                if device in self.entries[each][slot].split(",")
            )
            askers = [each for each in (*holders, launcher) if not self.shares[each]]
            if holders.total() + 1 > min(self.most(each, device) for each in askers):
                return False
        return True


ENTRIES = st.lists(st.sampled_from(["a", "a", "a,b", "b,c"]), min_size=1, max_size=4)
PLAN = st.tuples(ENTRIES, st.sampled_from([False, False, False, True]))
ACTION = st.tuples(st.integers(0, 2), st.sampled_from(["take"] * 6 + ["give"] * 3 + ["kill"]))


@pytest.mark.slow
@settings(max_examples=examples(40))
@given(plans=st.lists(PLAN, min_size=3, max_size=3), actions=st.lists(ACTION, min_size=8, max_size=25))
def test_no_device_is_held_beyond_what_was_asked_across_launchers(
    launchers: list[Launcher], plans: list[tuple[list[str], bool]], actions: list[tuple[int, str]]
) -> None:
    model = Model(plans)
    with tempfile.TemporaryDirectory() as place:

        def begin(number: int) -> None:
            launchers[number].ask("new", *plans[number], f"{place}/places")

        for number in range(3):
            begin(number)
        for number, action in actions:
            if action == "take":
                free = [slot for slot in range(len(plans[number][0])) if slot not in model.held[number]]
                allowed = {slot for slot in free if model.may_take(number, slot)}
                slot = launchers[number].ask("take")
                assert (slot in allowed) if allowed else slot is None
                model.held[number] |= {slot} - {None}
            elif action == "give" and model.held[number]:
                launchers[number].ask("give", model.held[number].pop())
            elif action == "kill":  # which leaves nothing to clean up
                launchers[number].kill()
                model.held[number].clear()
                begin(number)


def test_holder_is_named_by_its_process(launchers: list[Launcher], tmp_path: Path) -> None:
    launchers[0].ask("new", ["GPU-a"], False, str(tmp_path / "places"))
    assert launchers[0].ask("take") == 0
    assert launchers[0].process is not None
    with pytest.raises(Taken, match=rf"launcher of yours \(process {launchers[0].process.pid}\)"):
        HostLocks({"GPU-a": 1}, directory=tmp_path / "places").take(["GPU-a"])


@pytest.mark.parametrize(("first", "second"), [(["a"], ["a", "a"]), (["a", "a"], ["a"])])
def test_device_has_no_more_jobs_than_any_of_its_launchers_asked_for(
    launchers: list[Launcher], tmp_path: Path, first: list[str], second: list[str]
) -> None:
    for launcher, entries in zip(launchers, (first, second), strict=False):
        launcher.ask("new", entries, False, str(tmp_path / "places"))
    assert launchers[0].ask("take") == 0
    assert launchers[1].ask("take") is None


def test_killed_launcher_leaves_its_devices_free(launchers: list[Launcher], tmp_path: Path) -> None:
    for launcher in launchers[:2]:
        launcher.ask("new", ["a,b"], False, str(tmp_path / "places"))
    assert launchers[0].ask("take") == 0
    assert launchers[1].ask("take") is None
    launchers[0].kill()
    assert launchers[1].ask("take") == 0


def test_device_of_a_killed_launcher_is_held_until_its_job_has_died(launchers: list[Launcher], tmp_path: Path) -> None:
    launchers[0].ask("new", ["a"], False, str(tmp_path / "places"))
    assert launchers[0].ask("take") == 0
    pipe = subprocess.PIPE
    job = subprocess.Popen([sys.executable, "-c", JOB, *launchers[0].ask("places")], stdin=pipe, stdout=pipe, cwd=ROOT)
    assert job.stdout is not None
    job.stdout.readline()
    launchers[0].kill()
    locks = HostLocks({"a": 1}, directory=tmp_path / "places")
    try:
        with pytest.raises(Taken, match="held by another launcher of yours"):
            locks.take(["a"])
    finally:
        job.kill()
        job.communicate()
    locks.take(["a"]).release()
