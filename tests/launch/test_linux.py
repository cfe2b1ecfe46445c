"""What is known of this process: which libraries it has loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")

LOADS_LATER = """
import _ctypes, ctypes, shutil, sys
from trainctl.launch.local import linux

def load(name):
    shutil.copy(_ctypes.__file__, f"{sys.argv[1]}/{name}")
    ctypes.CDLL(f"{sys.argv[1]}/{name}")

assert not linux.holds_device()
path, linux.Path = linux.Path, None
assert not linux.holds_device(), "nothing was loaded: the list is not read again"
linux.Path = path
load("libany.so")
assert not linux.holds_device()
load("libhsa-runtime64.so")  # the runtime of AMD's GPUs, to whoever sees the name
assert linux.holds_device()
"""


def test_library_that_is_loaded_later_is_seen(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", LOADS_LATER, str(tmp_path)], check=True, timeout=60)
