"""Environments that hold a rival and nothing of trainctl, made on first use in `.venv-bench/`, which git ignores."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".venv-bench"


@functools.cache
def programs_of(name: str, *installs: tuple[str, ...]) -> Path:
    """Return the directory of programs of the environment `name`; each of `installs` is the arguments of one install.

    Raises:
        RuntimeError: it cannot be made, or something cannot be installed; says why, in pip's words.
    """
    place = PLACE / name
    if not (place / "complete").exists():
        venv.create(place, with_pip=True, clear=True)
        for arguments in installs:
            install(place / "bin", *arguments)
        (place / "complete").touch()
    return place / "bin"


def install(programs: Path, *arguments: str) -> None:
    """Install into an environment.

    Raises:
        RuntimeError: says why not, in pip's words.
    """
    command = [str(programs / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["ERROR: pip failed"]
        raise RuntimeError(f"`pip install {' '.join(arguments)}` says {said[-1].removeprefix('ERROR: ')!r}")


def version_in(programs: Path, distribution: str) -> str:
    """Return the version of a distribution in an environment."""
    code = f"import importlib.metadata as m; print(m.version({distribution!r}))"
    return subprocess.run(
        [str(programs / "python"), "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


@functools.cache
def gnu_parallel() -> Path:
    """Return GNU parallel: the system's, or Debian's package unpacked here, a Perl program that needs no installation.

    Raises:
        RuntimeError: neither can be had.
    """
    if found := shutil.which("parallel"):
        return Path(found)
    place = PLACE / "parallel"
    program = place / "usr" / "bin" / "parallel"
    if not program.exists():
        place.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(["apt-get", "download", "-qq", "parallel"], cwd=place, check=True, capture_output=True)
            for package in place.glob("parallel_*.deb"):
                subprocess.run(["dpkg", "-x", package, place], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise RuntimeError(f"it is not installed, and Debian's package cannot be had ({error})") from error
    return program


def torch_folder() -> Path | None:
    """Return a directory with PyTorch and what it needs alone, for environments without; None where it is not here."""
    import importlib.metadata
    import re

    names, seen = ["torch"], set()
    place = PLACE / f"torch-{sys.version_info.major}.{sys.version_info.minor}"
    place.mkdir(parents=True, exist_ok=True)
    while names:
        name = names.pop()
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if name == "torch":
                return None
            continue
        seen.add(name)
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}:
            if not (place / top).is_symlink():
                (place / top).symlink_to(str(distribution.locate_file(top)))
        required = [re.match(r"[\w.-]+", one) for one in distribution.requires or () if "extra ==" not in one]
        names += [one[0] for one in required if one is not None and one[0] not in seen]
    return place
