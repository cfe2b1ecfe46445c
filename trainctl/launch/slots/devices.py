"""Which GPUs and processor cores this launcher may use. Asked in the launcher only; no CUDA is initialised."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainctl.errors import SettingError
from trainctl.launch.slots.gpu import Gpu, GpuReader, NoDriver
from trainctl.launch.slots.nvml import NvmlReader

log = logging.getLogger(__name__)

_PRESET = "CUDA_VISIBLE_DEVICES"
_HIDES_ALL = ("", "-1", "NoDevFiles")
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True)
class Visible:
    """The GPUs to choose from, in order.

    Attributes:
        scope: why there are no more of them, for messages; empty when these are all of the machine.
        reader: tells more of them; whoever asked for the GPUs closes it. None without GPUs.
    """

    gpus: tuple[Gpu, ...] = ()
    scope: str = ""
    reader: GpuReader | None = None

    def pick(self, name: str) -> Gpu:
        """Return the one device of that name.

        Raises:
            SettingError: there is none, or more than one; the text is the end of a sentence about the name.
        """
        found = [gpu for gpu in self.gpus if gpu.is_called(name)]
        parts = [gpu.index for gpu in self.gpus if gpu.is_part_of(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise SettingError(f"which is the beginning of {', '.join(gpu.uuid for gpu in found)}; write more of it")
        if parts:
            raise SettingError(f"which is split into MIG devices; name one of {', '.join(parts)}")
        there = ", ".join(gpu.index for gpu in self.gpus) or "none"
        raise SettingError(
            f"which is not visible here; visible GPUs: {there}{f' ({self.scope})' if self.scope else ''}"
        )


def visible_gpus(
    environment: Mapping[str, str] = os.environ, open_reader: Callable[[], GpuReader] = NvmlReader
) -> Visible:
    """Return the GPUs that may be used: those that a preset `CUDA_VISIBLE_DEVICES` names, in its order, else all.

    Raises:
        SettingError: `CUDA_VISIBLE_DEVICES` names a device that is not there, or the driver does not answer.
    """
    preset = environment.get(_PRESET)
    if preset is not None and preset.strip() in _HIDES_ALL:
        return Visible(scope=f"{_PRESET}={preset!r} hides them")
    try:
        reader = open_reader()
    except NoDriver as error:
        if preset is not None:
            log.warning("%s=%s asks for GPUs, but %s; jobs run on processor cores", _PRESET, preset, error)
        return Visible(scope=str(error))
    gpus = reader.gpus()
    if preset is None:
        return Visible(tuple(gpus), "" if gpus else "the NVIDIA driver lists none", reader)
    if environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID" and len({gpu.name for gpu in gpus}) > 1:
        log.info("indices in %s=%s are taken in PCI bus order, as nvidia-smi shows them", _PRESET, preset)
    return Visible(choose(gpus, preset), f"{_PRESET}={preset}; indices are those of nvidia-smi", reader)


def choose(installed: Sequence[Gpu], preset: str) -> tuple[Gpu, ...]:
    """Return those of the installed GPUs that a `CUDA_VISIBLE_DEVICES` names, in its order, each once.

    A GPU that is split into MIG devices stands for all of these. `-1` ends the list, as in CUDA. CUDA also silently
    hides what follows a device that is not there; here that is an error.

    >>> [gpu.index for gpu in choose([Gpu("0", "GPU-a1", "A100"), Gpu("1", "GPU-b2", "A100")], "GPU-b,0")]
    ['1', '0']
    """
    everything = Visible(tuple(installed))
    chosen: dict[str, Gpu] = {}
    for name in (part.strip() for part in preset.split(",")):
        if name == "-1":
            break
        parts = [gpu for gpu in installed if gpu.is_part_of(name)]
        try:
            picked = parts or [everything.pick(name)]
        except SettingError as error:
            raise SettingError(f"{_PRESET}={preset!r} names {name!r}, {error}") from None
        chosen |= {gpu.uuid: gpu for gpu in picked}
    return tuple(chosen.values())


def usable_cores(quota: Path = _CPU_QUOTA) -> int:
    """Return the number of processor cores that this process may use, a container's share counted; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text().split()
        return max(1, min(cores, int(allowed) // int(period)))
    except (OSError, ValueError):
        return cores  # no such file, or `max`: no quota
