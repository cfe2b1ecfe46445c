"""Where a run comes from: command, code, packages, machine. What `run.yaml` says."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from trainctl.run import files
from trainctl.run.printable import clean_line
from trainctl.run.rundir import RunDir

_GIT_TIMEOUT_S = 10  # a repository on a dead network file system must not keep a run from starting


def machine_facts() -> dict[str, Any]:
    """Return what is the same for all runs that this process and its forks start, in the order of `run.yaml`."""
    started_in = str(original_cwd())
    return {
        "script": script_path(),
        "module": module_name(),
        "cwd": started_in,
        "git": git_facts(started_in),
        "python": platform.python_version(),
        "executable": sys.executable,
        "host": socket.gethostname(),
        "world_size": int(os.environ.get("WORLD_SIZE", "1")),
        "packages": packages(),
    }


def script_path() -> str | None:
    """Return the path of the program that runs; None in an interactive session."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return None if path is None else os.path.abspath(path)


def module_name() -> str | None:
    """Return the module that `python -m` was given; None when a file was."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is None:
        return None
    name: str = spec.name
    return name.removesuffix(".__main__")


@cache
def packages() -> dict[str, str]:
    """Return name and version of every installed distribution, sorted."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(name, distribution.version)
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


@cache
def git_facts(directory: str) -> dict[str, Any] | None:
    """Return commit and, when tracked files differ from it, a hash of the difference; None outside a repository."""
    sha = _git(directory, "rev-parse", "HEAD")
    if sha is None:
        return None
    difference = _git(directory, "diff", "HEAD")
    facts: dict[str, Any] = {"sha": sha.decode().strip(), "dirty": bool(difference)}
    if difference:
        facts["diff_sha256"] = hashlib.sha256(difference).hexdigest()[:16]
    return facts


def code_change(run: RunDir) -> str:
    """Say that a run was made with other code than what is there now, as far as git knows; empty if it was not."""
    then, now = files.read_mapping(run.run).get("git"), git_facts(str(original_cwd()))
    if now is None or not isinstance(then, dict) or then == now:
        return ""
    return f"the code has changed since {clean_line(str(then.get('sha')))[:7]}{' (dirty)' if then.get('dirty') else ''}"


def _git(directory: str, *arguments: str) -> bytes | None:
    try:
        answer = subprocess.run(
            ["git", "-C", directory, *arguments],
            capture_output=True,
            check=False,
            timeout=_GIT_TIMEOUT_S,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout if answer.returncode == 0 else None


def hydra_config() -> Any:
    """Return Hydra's own config when a Hydra application is running, else None; Hydra is never imported for this."""
    module = sys.modules.get("hydra.core.hydra_config")
    if module is None or not module.HydraConfig.initialized():
        return None
    return module.HydraConfig.get()


def original_cwd() -> Path:
    """Return where the program was started: Hydra may have gone to the output dir since."""
    hydra = hydra_config()
    return Path(hydra.runtime.cwd) if hydra is not None else Path.cwd()


def single_job_argv(overrides: list[str]) -> list[str]:
    """Return the command line that would run one job alone: the program, Hydra's flags for its config, the overrides.

    >>> sys.argv, saved = ["train.py", "-m", "--config-name", "small", "lr=1,2"], sys.argv
    >>> single_job_argv(["lr=1"])
    ['train.py', '--config-name', 'small', 'lr=1']
    >>> sys.argv = saved
    """
    flags: list[str] = []
    wanted = {"--config-name": "--config-name", "-cn": "--config-name", "--config-path": "--config-path"}
    wanted |= {"-cp": "--config-path", "--config-dir": "--config-dir", "-cd": "--config-dir"}
    arguments = iter(sys.argv[1:])
    for argument in arguments:
        flag, given, value = argument.partition("=")
        if flag in wanted:
            flags += [wanted[flag], value if given else next(arguments, "")]
    return [sys.argv[0], *flags, *overrides]


def relative_to(path: Path, base: Path) -> str:
    """Return `path` as a person at `base` would write it: relative when it lies below, else absolute."""
    try:
        return str(path.relative_to(base))
    except ValueError:
        return str(path)
