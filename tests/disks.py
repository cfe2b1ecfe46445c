"""File systems that can be filled up or made read-only; what runs on one is ended before it goes."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE = 4096


def mount(*arguments: str) -> None:
    try:
        mounted = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not permitted here: {mounted.stderr.strip()}")


@contextlib.contextmanager
def disk_of(size: str, path: Path) -> Iterator[Path]:
    path.mkdir()
    mount("-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(path))
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    with disk_of("512k", tmp_path / "disk") as path:
        yield path


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    with disk_of("4m", tmp_path / "disk") as path:
        yield path


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while os.statvfs(path).f_bavail > 0:  # again, while somebody who writes there gives pages back
            with contextlib.suppress(OSError):
                file.write(b"x" * PAGE)


def make_read_only(path: Path) -> None:
    mount("-o", "remount,ro", str(path))
