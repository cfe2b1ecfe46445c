"""A command on a pseudo terminal, which reads like a pipe that says it is a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path


def on_terminal(command: list[str], cwd: Path, *, columns: int, env: dict[str, str] | None = None) -> str:
    """Run a command on a terminal of so many columns, and return all that it wrote there; it has to end 0."""
    code, written = ended_on_terminal(command, cwd, columns=columns, env=env)
    assert code == 0, written
    return written


def ended_on_terminal(
    command: list[str], cwd: Path, *, columns: int, env: dict[str, str] | None = None
) -> tuple[int, str]:
    """Run a command on a terminal of so many columns, and return its exit code and all that it wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(command, cwd=cwd, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # its last writer is gone
        while data := os.read(ours, 1 << 16):
            written += data
    os.close(ours)
    return process.wait(60), written.decode()
