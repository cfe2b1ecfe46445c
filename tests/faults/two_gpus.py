"""A machine with two GPUs, and an app whose jobs find out by themselves whether they have their device alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gpu_driver import DRIVER
from sweep_app import App

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
