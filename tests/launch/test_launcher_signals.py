"""A signal wakes the launcher whichever of its threads gets it, and whenever."""

from __future__ import annotations

import subprocess
import sys

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
