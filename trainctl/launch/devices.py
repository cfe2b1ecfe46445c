"""Which GPUs this machine has and this user may use. Asked in the launcher only; no CUDA is initialised."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

from trainctl.errors import SettingError

log = logging.getLogger(__name__)


def visible_gpus(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the GPUs that may be used: index in PCI order (or the UUID given by the user) to UUID, in order.

    A preset `CUDA_VISIBLE_DEVICES` is the universe to choose from; empty or `-1` means none.

    Raises:
        SettingError: `CUDA_VISIBLE_DEVICES` names a device that is not there.
    """
    preset = environment.get("CUDA_VISIBLE_DEVICES")
    if preset is not None and preset.strip() in ("", "-1", "NoDevFiles"):
        return {}
    return choose(installed_gpus(), preset)


def choose(installed: Mapping[str, str], preset: str | None) -> dict[str, str]:
    """Return those of the installed GPUs that a `CUDA_VISIBLE_DEVICES` names, in its order; all without one.

    >>> choose({"0": "GPU-a", "1": "GPU-b"}, "1")
    {'1': 'GPU-b'}
    """
    if preset is None:
        return dict(installed)
    if not installed:
        return {}
    chosen: dict[str, str] = {}
    for name in (part.strip() for part in preset.split(",")):
        if name == "-1":
            break  # CUDA's own rule: what follows an invalid entry is not seen
        matches = [uuid for uuid in installed.values() if name.startswith(("GPU-", "MIG-")) and uuid.startswith(name)]
        uuid = installed.get(name) or (matches[0] if len(matches) == 1 else None)
        if uuid is None and name.startswith("MIG-"):
            uuid = name  # a slice of a GPU: the driver knows it, the list of GPUs does not
        if uuid is None:
            raise SettingError(
                f"CUDA_VISIBLE_DEVICES={preset!r} names {name!r}, which is not there; "
                f"this machine's GPUs: {', '.join(installed)}"
            )
        chosen[name] = uuid
    return chosen


def installed_gpus() -> dict[str, str]:
    """Return index in PCI order to UUID of all GPUs, through NVML; empty without a driver."""
    try:
        import pynvml
    except ImportError:
        return {}
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return {}
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        handles.sort(key=lambda handle: _text(pynvml.nvmlDeviceGetPciInfo(handle).busId))
        return {str(index): _text(pynvml.nvmlDeviceGetUUID(handle)) for index, handle in enumerate(handles)}
    except pynvml.NVMLError as error:
        log.warning("the GPUs could not be listed (%s); using CPU slots", error)
        return {}
    finally:
        pynvml.nvmlShutdown()


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def usable_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
