"""Environments that hold a rival and nothing of ours, made on first use under the user's cache dir."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path


def programs_of(name: str, *installs: tuple[str, ...]) -> Path:
    """Return the directory of programs of the environment `name`; each of `installs` is the arguments of one install.

    Raises:
        OSError, subprocess.CalledProcessError: it cannot be made, or something cannot be installed.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hydra-trainctl-benchmarks"
    programs = cache / name / "bin"
    if not (cache / name / "complete").exists():
        venv.create(cache / name, with_pip=True, clear=True)
        for arguments in installs:
            command = [str(programs / "python"), "-m", "pip", "install", "-q", *arguments]
            subprocess.run(command, check=True, capture_output=True)
        (cache / name / "complete").touch()
    return programs
