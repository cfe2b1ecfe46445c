"""A signal wakes the launcher whichever of its threads gets it, and whenever."""

from __future__ import annotations

import subprocess
import sys

WAITS = """
import os, select, signal, threading, time
from trainctl.launch.signals import Interrupts

sent = threading.Event()
def send():
    time.sleep(0.5)  # the main thread waits by now; if not, the test proves less, and does not fail
    os.kill(os.getpid(), signal.SIGTERM)  # this thread alone may take it
    sent.wait()

with Interrupts() as interrupts:
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
