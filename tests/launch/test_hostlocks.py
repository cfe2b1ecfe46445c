"""No device is held beyond what was asked, across launchers, with real locks of real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import Clock

from trainctl.errors import SettingError
from trainctl.launch.hostlocks import HostLocks, Taken

ROOT = Path(__file__).resolve().parents[2]

LAUNCHER = """
import collections, itertools, json, pathlib, sys
from trainctl.launch.hostlocks import HostLocks
from trainctl.launch.pool import SlotPool
from trainctl.launch.slots import Slot

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
    else:
        pool.give_back(pool.slots[values[0]])
    print(json.dumps(answer), flush=True)
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


PLAN = st.tuples(st.lists(st.sampled_from(["a", "a", "b", "a,b", "b,c"]), min_size=1, max_size=4), st.booleans())
ACTION = st.tuples(st.integers(0, 2), st.sampled_from(["take"] * 6 + ["give"] * 4 + ["kill"]))


@settings(max_examples=25, deadline=None)
@given(plans=st.lists(PLAN, min_size=3, max_size=3), actions=st.lists(ACTION, max_size=25))
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


@pytest.fixture
def locks(tmp_path: Path) -> Callable[..., HostLocks]:
    def make(most: int = 1, **options: Any) -> HostLocks:
        return HostLocks({"GPU-a": most}, directory=tmp_path / "places", **options)

    return make


def is_free(locks: HostLocks) -> bool:
    try:
        locks.take(["GPU-a"]).release()
    except Taken:
        return False
    return True


def test_place_is_held_until_it_is_released(locks: Callable[..., HostLocks]) -> None:
    held = locks().take(["GPU-a"])
    with pytest.raises(Taken, match="held by another launcher of yours"):
        locks().take(["GPU-a"])
    held.release()
    assert is_free(locks())


def test_holder_is_named_by_its_process(launchers: list[Launcher], tmp_path: Path) -> None:
    launchers[0].ask("new", ["GPU-a"], False, str(tmp_path / "places"))
    assert launchers[0].ask("take") == 0
    assert launchers[0].process is not None
    with pytest.raises(Taken, match=rf"launcher of yours \(process {launchers[0].process.pid}\)"):
        HostLocks({"GPU-a": 1}, directory=tmp_path / "places").take(["GPU-a"])


def test_forked_and_executed_processes_keep_no_place(locks: Callable[..., HostLocks]) -> None:
    """The children live on when the holder's own descriptors are closed, as at its death."""
    ready, go = os.pipe(), os.pipe()
    held = locks().take(["GPU-a"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: the test runner has threads
        forked = os.fork()
    if forked == 0:
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(0)
    executed = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        close_fds=False,
    )
    assert executed.stdout is not None
    executed.stdout.readline()
    os.read(ready[0], 1)
    assert not is_free(locks())  # nor did the child's closing free what its parent holds
    held.release()
    try:
        assert is_free(locks())
    finally:
        os.write(go[1], b"x")
        os.waitpid(forked, 0)
        executed.communicate()
        for descriptor in (*ready, *go):
            os.close(descriptor)


def test_failed_and_released_takes_leave_no_descriptor(locks: Callable[..., HostLocks]) -> None:
    one, other = locks(), locks()
    is_free(one)
    before = len(os.listdir("/proc/self/fd"))
    held = one.take(["GPU-a"])
    for _ in range(20):
        assert not is_free(other)
    held.release()
    assert len(os.listdir("/proc/self/fd")) == before


def test_starts_of_all_launchers_are_staggered(locks: Callable[..., HostLocks]) -> None:
    clock = Clock(1.7e9)
    one, other = (locks(2, stagger_s=30, clock=clock) for _ in range(2))
    held = one.take(["GPU-a"])
    clock.now += 10
    with pytest.raises(Taken, match="a job was started on it within 30 s") as refused:
        other.take(["GPU-a"])
    assert refused.value.again_s == pytest.approx(20)
    clock.now -= 3600  # a clock that was set back stops nobody
    other.take(["GPU-a"]).release()
    held.release()


def test_stopped_launcher_holds_up_nobody_for_ever(locks: Callable[..., HostLocks], tmp_path: Path) -> None:
    ours = locks()
    stopped = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, 2); print(1, flush=True); sys.stdin.read()",
            str(tmp_path / "places" / "mutex"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert stopped.stdout is not None
    stopped.stdout.readline()
    stopped.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(Taken, match="another launcher looks at the devices just now"):
            ours.take(["GPU-a"])
    finally:
        stopped.kill()
        stopped.communicate()
    assert is_free(ours)


def test_directory_is_private_and_may_vanish(locks: Callable[..., HostLocks], tmp_path: Path) -> None:
    ours = locks()
    places = tmp_path / "places"
    assert places.stat().st_mode & 0o777 == 0o700
    for file in places.iterdir():
        file.unlink()
    places.rmdir()
    assert is_free(ours)


def test_directory_that_others_may_enter_is_refused(locks: Callable[..., HostLocks], tmp_path: Path) -> None:
    (tmp_path / "places").mkdir()
    (tmp_path / "places").chmod(0o755)
    with pytest.raises(
        SettingError, match=r"cannot be shared out in .*/places': it belongs to, or is open to, somebody"
    ):
        locks()


def test_directory_that_is_a_link_or_a_file_is_refused(locks: Callable[..., HostLocks], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "places").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingError, match="cannot be shared out"):
        locks()
    (tmp_path / "places").unlink()
    (tmp_path / "places").touch()
    with pytest.raises(SettingError, match="Not a directory"):
        locks()


def test_directory_of_another_user_is_refused(
    locks: Callable[..., HostLocks], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "places").mkdir(mode=0o700)
    stranger = os.geteuid() + 1
    monkeypatch.setattr("trainctl.launch.hostlocks.os.geteuid", lambda: stranger)
    with pytest.raises(SettingError, match="belongs to, or is open to, somebody else"):
        locks()


def test_directory_that_becomes_unusable_refuses_and_raises_nothing_else(
    locks: Callable[..., HostLocks], tmp_path: Path
) -> None:
    ours = locks()
    (tmp_path / "places").chmod(0o777)
    with pytest.raises(Taken, match="cannot be looked at"):
        ours.take(["GPU-a"])
