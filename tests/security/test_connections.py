"""However many connections another user of the machine opens, the page answers its owner and ends in time."""

from __future__ import annotations

import os
import resource
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import psutil
import pytest
from test_roles import ask

from trainctl.config.settings import PanelSettings
from trainctl.panel.server import handle as process
from trainctl.panel.server.limits import Listener, client_of, raised_limit
from trainctl.panel.server.state import PanelDir

OTHER_UID = 65534
LONG = bool(os.environ.get("TRAINCTL_LONG_ATTACK"))
FOR_S, HALF_REQUESTS = (60, 1400) if LONG else (10, 1400)
# seconds for an answer, which takes 0.1 s on a quiet machine; more where others use its processors
PATIENCE_S = 10.0 if os.getloadavg()[0] < (os.cpu_count() or 1) else 60.0
END_S = 60.0

ATTACK = f"""
import os, resource, select, socket, sys, time
port, number, seconds = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (number + 100, number + 100))
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({OTHER_UID}); os.setuid({OTHER_UID})

def half():
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex(("127.0.0.1", port))
    return one

opened, begun = [half() for _ in range(number)], time.monotonic()
print("begun", flush=True)
closed, sent = 0, set()
poll = select.poll()
by_number = {{}}
for one in opened:
    by_number[one.fileno()] = one
    poll.register(one, select.POLLIN | select.POLLOUT)
while time.monotonic() - begun < seconds:
    for descriptor, what in poll.poll(100):
        one = by_number[descriptor]
        if what & (select.POLLIN | select.POLLHUP | select.POLLERR):  # closed by the server: open another one
            closed += 1
            poll.unregister(descriptor)
            one.close()
            del by_number[descriptor]
            one = half()
            by_number[one.fileno()] = one
            poll.register(one, select.POLLIN | select.POLLOUT)
        else:
            try:
                one.send(b"GET / HTTP/1.1\\r\\nHost: ")
            except OSError:
                continue
            poll.modify(one, select.POLLIN)
    time.sleep(0.02)  # fast enough to keep the server busy, slow enough to leave the owner a processor
print(closed, flush=True)
"""


@pytest.fixture
def handle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[process.PanelHandle]:
    monkeypatch.setenv("TRAINCTL_USERNAME", "me")
    monkeypatch.setenv("TRAINCTL_PASSWORD", "correct horse")
    handle = process.ensure(tmp_path / "root", PanelSettings(keep_min=0))
    assert handle is not None
    yield handle
    handle.close()


def attack(port: int, seconds: int) -> subprocess.Popen[str]:
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
    command = [python, "-c", ATTACK, str(port), str(HALF_REQUESTS), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd="/")


def answered(url: str) -> float:
    """Ask for the page as its owner does; return the seconds."""
    token = dict(parse_qsl(urlsplit(url).query))["token"]
    begun = time.monotonic()
    assert ask(url, {"Authorization": f"Bearer {token}"})[0] == 200
    return time.monotonic() - begun


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE  # it is a child of this process
    except psutil.NoSuchProcess:
        return True


@pytest.mark.slow
def test_half_requests_keep_nobody_from_the_page(handle: process.PanelHandle, tmp_path: Path) -> None:
    port, place = urlsplit(handle.url).port, PanelDir(tmp_path / "root")
    assert port is not None
    before = answered(handle.url)
    with attack(port, FOR_S) as attacker:
        assert attacker.stdout is not None
        assert attacker.stdout.readline() == "begun\n"
        took = []
        while attacker.poll() is None and len(took) < 200:
            took.append(answered(handle.url))
            select.select([], [], [], 0.2)
        closed = int(attacker.stdout.read())
    assert max(before, *took) < PATIENCE_S
    print(f"before {before:.2f} s, during the attack at most {max(took):.2f} s of {len(took)}, {closed} closed")
    assert closed > 100  # the oldest were closed for later ones
    record = process.find(tmp_path / "root")
    assert record is not None
    assert len(os.listdir(f"/proc/{record.pid}/fd")) < 600
    assert place.log.stat().st_size < 2**20
    assert answered(handle.url) < PATIENCE_S


@pytest.mark.slow
def test_server_under_attack_ends_with_its_sweep(tmp_path: Path) -> None:
    handle = process.ensure(tmp_path, PanelSettings(keep_min=0))
    assert handle is not None
    record, port = process.find(tmp_path), urlsplit(handle.url).port
    assert record is not None
    assert port is not None
    with attack(port, 240) as attacker:
        assert attacker.stdout is not None
        attacker.stdout.readline()
        handle.close()
        deadline = time.monotonic() + END_S
        while not has_ended(record.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert has_ended(record.pid)
        attacker.kill()  # its end is not waited for in the block: it would go on for minutes


def test_connections_in_a_row_leave_earlier_requests_their_turn() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server, Listener(fileno=os.dup(server.fileno())) as one:
        one.setblocking(False)
        others = [socket.create_connection(server.getsockname()) for _ in range(40)]
        turns = [accepted_in_a_row(one) for _ in range(4)]
        for each in others:
            each.close()
    assert turns == [16, 16, 8, 0]


def accepted_in_a_row(listener: Listener) -> int:
    for number in range(100):
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return number
    return 100


def test_users_of_this_machine_are_clients_of_their_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        with ours, accepted:
            assert client_of(accepted) == f"127.0.0.1 of uid {os.geteuid()}"
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        ours = socket.create_connection(server.getsockname()[:2])
        accepted, _ = server.accept()
        with ours, accepted:
            assert client_of(accepted) == f"::1 of uid {os.geteuid()}"
    assert client_of(accepted) == ""  # closed


def test_limit_of_descriptors_is_raised_as_far_as_may_be() -> None:
    code = (
        "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (64, 512));"
        "from trainctl.panel.server.limits import raised_limit;"
        "print(raised_limit(), r.getrlimit(r.RLIMIT_NOFILE))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert told.stdout == "512 (512, 512)\n"
    assert raised_limit() == min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], raised_limit())
