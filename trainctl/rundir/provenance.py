"""The provenance of a run, as recorded in `run.yaml`: command, code, packages, machine, and their differences."""

from __future__ import annotations

import hashlib
import importlib.metadata
import multiprocessing
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from trainctl.config.keys import leaves, split
from trainctl.config.settings_node import hydra_config
from trainctl.rundir.paths import RunDir
from trainctl.rundir.summary import read_record
from trainctl.rundir.trust import FORMAT
from trainctl.text import clean_line

_GIT_TIMEOUT_S = 10  # a repository on a dead network file system must not keep a run from starting


@dataclass(frozen=True, slots=True)
class Start:
    """How the program of a run was started; a process made by a launcher cannot find it out itself.

    Attributes:
        script: its path; None in an interactive session.
        module: that `python -m` was given.
        takes_overrides: Hydra reads its command line; `hydra_zen.launch` and other Python code give overrides instead.
    """

    script: str | None
    module: str | None
    takes_overrides: bool

    @classmethod
    def of_this_process(cls) -> Start:
        if _is_joblibs_worker():
            return cls._of_joblibs_parent()
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame.f_globals.get("__name__") != "hydra.main":
            frame = frame.f_back
        return cls(script_path(), module_name(), frame is not None)

    @classmethod
    def _of_joblibs_parent(cls) -> Start:
        """Return how the program that has started this worker of joblib was started: the worker has its `sys.argv`."""
        script = os.path.join(original_cwd(), sys.argv[0])
        is_sweep = any(each in ("-m", "--multirun") or each.startswith("hydra.mode=") for each in sys.argv[1:])
        return cls(script if os.path.isfile(script) else None, _module_of(os.getppid()), is_sweep)


def machine_facts(start: Start | None = None) -> dict[str, Any]:
    """Return the facts shared by all runs of this process and its forks, in the order of `run.yaml`.

    Args:
        start: how the program was started, if another process was.
    """
    started_in, start = str(original_cwd()), start or Start.of_this_process()
    return {
        "format": FORMAT,
        "script": start.script,
        "module": start.module,
        **({} if start.takes_overrides or hydra_config() is None else {"takes_overrides": False}),
        "cwd": started_in,
        "git": git_facts(started_in),
        "python": platform.python_version(),
        "executable": sys.executable,
        "host": socket.gethostname(),
        "world_size": int(os.environ.get("WORLD_SIZE", "1")),
        **_torchrun(),
        "packages": packages(),
    }


def _torchrun() -> dict[str, Any]:
    """Return the numbers of machines and of ranks on each under torchrun; else nothing."""
    counts = {"nnodes": os.environ.get("GROUP_WORLD_SIZE"), "nproc_per_node": os.environ.get("LOCAL_WORLD_SIZE")}
    if "TORCHELASTIC_RUN_ID" not in os.environ or not all(text and text.isdecimal() for text in counts.values()):
        return {}
    return {"torchrun": {name: int(str(text)) for name, text in counts.items()}}


def script_path() -> str | None:
    """Return the path of the running program; None in an interactive session."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return None if path is None else os.path.abspath(path)


def module_name() -> str | None:
    """Return the module given to `python -m`; None for a file, a directory or an archive."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is None or spec.name == "__main__":
        return None
    name: str = spec.name
    return name.removesuffix(".__main__")


def _is_joblibs_worker() -> bool:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and "loky" in spec.name.split(".") and multiprocessing.parent_process() is not None


def _module_of(pid: int) -> str | None:
    """Return the module that `python -m` was given for another process; None where that is not known."""
    try:
        arguments = iter(os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")[1:])
    except OSError:
        return None
    for argument in arguments:
        if argument == "-m":
            return next(arguments, None)
        if argument in ("-X", "-W"):
            next(arguments, None)
        elif not argument.startswith("-"):
            break
    return None


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
    """Say that the code has changed since a run, as far as git knows; empty if it has not."""
    then, now = read_record(run, "git").get("git"), git_facts(str(original_cwd()))
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


def original_cwd() -> Path:
    """Return the directory in which the program was started; Hydra may have changed to the output dir since."""
    hydra = hydra_config()
    return Path(hydra.runtime.cwd) if hydra is not None else Path.cwd()


def replayed_path(replay: str | None) -> Path | None:
    """Return the path that `trainctl.replay` names; None if nothing is replayed."""
    return None if replay is None else original_cwd() / Path(replay).expanduser()


def is_rerun() -> bool:
    """Whether Hydra was asked to call the task with the pickled config of an earlier run, by `--experimental-rerun`.

    Nothing else tells: it calls the task function alone, without callbacks. A flag may be given in part.
    """
    flags = (argument.partition("=")[0] for argument in sys.argv[1:])
    return any(flag.startswith("--e") and "--experimental-rerun".startswith(flag) for flag in flags)


def relative_to(path: Path, base: Path) -> str:
    """Return `path` relative to `base` if it is below, else absolute."""
    try:
        return str(path.relative_to(base))
    except ValueError:
        return str(path)


THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_FLAGS = ("PYTHONHASHSEED", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE")
_MOST = 10
_LABELS = {
    "git.sha": "git commit", "git.diff_sha256": "uncommitted changes", "python": "Python", "executable": "interpreter",
    "host": "host", "world_size": "world size", "script": "script",
}  # fmt: skip


def environment(config: Mapping[Any, Any]) -> dict[str, Any]:
    """Return processor, devices, threads, flags and workers, as far as they are known now; torch is not imported."""
    workers = {key: value for key, value in leaves(config).items() if split(key)[-1] in ("num_workers", "workers")}
    return {
        "cpu": _cpu(),
        "threads": {name: os.environ[name] for name in THREADS if name in os.environ},
        "flags": {name: os.environ[name] for name in _FLAGS if name in os.environ},
        "workers": workers,
        **_of_torch(),
    }


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Say how two runs differ in where they ran, by their `run.yaml`: `numpy: 2.1.0, now 2.2.0`."""
    found = list(_facts(one, other))
    packages = list(_differing(one.get("packages"), other.get("packages")))
    if len(packages) > _MOST:
        packages = [*packages[:_MOST], f"{len(packages) - _MOST} more packages"]
    return [*found, *packages, *_differing(one.get("environment"), other.get("environment"))]


def _facts(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    flat, now = leaves(dict(one)), leaves(dict(other))
    for key, label in _LABELS.items():
        if flat.get(key) != now.get(key):
            yield _said(label, flat.get(key), now.get(key))


def _differing(one: Any, other: Any) -> Iterator[str]:
    before, now = (leaves(facts) if isinstance(facts, dict) else {} for facts in (one, other))
    for key in {**before, **now}:
        if before.get(key) != now.get(key):
            yield _said(key, before.get(key), now.get(key))


def _said(label: str, before: Any, now: Any) -> str:
    texts = ("none" if value is None else str(value) for value in (before, now))
    return f"{label}: {next(texts)}, now {next(texts)}"


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    names = (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _of_torch() -> dict[str, Any]:
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return {}
    cuda = torch.cuda
    devices = [cuda.get_device_name(place) for place in range(cuda.device_count())] if cuda.is_initialized() else []
    cudnn = torch.backends.cudnn
    return {
        "devices": ", ".join(devices) or None,
        "torch": {
            "threads": torch.get_num_threads(),
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
            "cudnn_deterministic": cudnn.deterministic,
            "cudnn_benchmark": cudnn.benchmark,
            "matmul_precision": torch.get_float32_matmul_precision(),
        },
    }
