"""What a run's numbers may depend on besides its config and seed; and how two runs differ in it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainctl.config.keys import leaves, split

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
