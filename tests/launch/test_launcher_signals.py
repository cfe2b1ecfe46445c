"""A signal wakes the launcher whichever of its threads gets it, and whenever; the second one ends it in any case."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from waiting import wait_until

from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status, state_of

WAITS = """
import os, select, signal, threading, time
from trainctl.launch.signals import Interrupts

class Heard(Interrupts):
    def fileno(self):
        asked.set()
        return super().fileno()

asked, sent = threading.Event(), threading.Event()
def main_sleeps():
    with open(f"/proc/self/task/{os.getpid()}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "S"

def send():
    asked.wait()  # the main thread has begun its select
    while not all(main_sleeps() for _ in range(3)): time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGTERM)  # this thread alone may take it
    sent.wait()

with Heard() as interrupts:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    taker = threading.Thread(target=lambda: (signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM]), send()))
    taker.start()
    ready, _, _ = select.select([interrupts], [], [], 60)
    sent.set()
    taker.join()
    interrupts.drain()
    print(bool(ready), interrupts.wants_the_end, interrupts.ended_by.name)
print(signal.set_wakeup_fd(-1), signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
"""


def test_signal_that_another_thread_takes_wakes_a_launcher_that_waits() -> None:
    done = subprocess.run([sys.executable, "-c", WAITS], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == ["True True SIGTERM", "-1 True"], done.stderr


SLEEPS = """
import time
import hydra
from trainctl.launch import sweep
from trainctl.launch.local import client

sweep._UNHEARD_S = client._END_S = 0.5

@hydra.main(version_base=None)
def main(cfg):
    time.sleep(300)

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_second_interrupt_ends_a_launcher_whose_zygote_hangs(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SLEEPS)
    options = ["hydra/launcher=slots", "hydra.sweep.dir=out", "+x=1", "hydra.launcher.grace_s=0.5"]
    said = tmp_path / "said.txt"
    with said.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "train.py", "-m", *options], cwd=tmp_path, stdout=file, stderr=subprocess.STDOUT
        )
    run = RunDir.at(tmp_path / "out" / "0")
    status = wait_until(lambda: state_of(run) == "running" and read_status(run), "the job runs")
    job = psutil.Process(status.pid)
    zygote = job.parent()
    assert zygote is not None
    assert zygote.ppid() == process.pid

    zygote.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    wait_until(lambda: "Ctrl-C again" in said.read_text(), "the first one is heard")
    process.send_signal(signal.SIGINT)

    assert process.wait(60) == 130, said.read_text()
    assert "does not answer, and is given up" in said.read_text()
    wait_until(lambda: not job.is_running() and not zygote.is_running(), "all of its processes end")
    assert state_of(run) == "interrupted"
