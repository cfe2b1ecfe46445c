"""A machine with two GPUs, and an app whose jobs find out by themselves whether they have their device alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sweep_app import App

UUIDS = ["GPU-aaaa0001", "GPU-bbbb0002"]

DRIVER = f"""
import pathlib, types
from trainctl.launch import hostlocks

hostlocks.HOST = pathlib.Path(__file__).parent
NVML_DEVICE_MIG_ENABLE = 1
class NVMLError(Exception): pass
class NVMLError_LibraryNotFound(NVMLError): pass
class NVMLError_DriverNotLoaded(NVMLError): pass
class NVMLError_GpuIsLost(NVMLError): pass
class NVMLError_NoPermission(NVMLError): pass

def __getattr__(name):  # what is not here is not supported
    def ask(*arguments): raise NVMLError(name)
    return ask

def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetPciInfo(handle): return types.SimpleNamespace(busId=f"00000000:{{handle}}7:00.0")
def nvmlDeviceGetUUID(handle): return {UUIDS!r}[handle]
def nvmlDeviceGetMemoryInfo(handle): return types.SimpleNamespace(total=80 << 30, free=70 << 30)
"""

# The kernel takes the lock on `busy` back when its job is killed: the next one must never find it held.
SOURCE = """
import fcntl, os, time
import hydra

HERE = os.path.dirname(os.path.abspath(__file__))

def note(*words):
    file = os.open(os.path.join(HERE, "ran.txt"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (" ".join(map(str, words)) + "\\n").encode())
    os.close(file)

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    device = os.environ["CUDA_VISIBLE_DEVICES"]
    busy = os.open(os.path.join(HERE, f"busy-{device}"), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(busy, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note("overlap", device, cfg.x)
    note("start", cfg.x, device, os.getpid())
    time.sleep((0.05, 0.2, 0.1)[cfg.x % 3])
    note("end", cfg.x, device, os.getpid())
    os.close(busy)

if __name__ == "__main__":
    main()
"""


def two_gpu_app(path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    (path / "driver").mkdir()
    (path / "driver" / "pynvml.py").write_text(DRIVER)
    (path / "app.py").write_text(SOURCE)
    (path / "conf").mkdir()
    (path / "conf" / "config.yaml").write_text("x: 0\n")
    monkeypatch.setenv("PYTHONPATH", str(path / "driver"), prepend=os.pathsep)
    return App(path)
