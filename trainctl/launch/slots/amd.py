"""AMD's management library, which comes with ROCm. Initialises no HIP, so jobs may still be forked afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from trainctl.launch.slots.gpu import AMD, Gpu, GpuProcess, Look, NoDriver

_MIB = 1 << 20


class AmdReader:
    """A `GpuReader` for AMD's driver. What a device or a version of the library does not tell is None, never an error.

    Raises:
        NoDriver: the library is not installed, or finds no driver.
    """

    kind = AMD

    def __init__(self) -> None:
        try:
            import amdsmi
        except Exception as error:  # it opens its shared library, and fails in several ways where there is none
            raise NoDriver("the package amdsmi is not installed") from error
        self._smi: Any = amdsmi
        try:
            amdsmi.amdsmi_init()
        except Exception as error:
            raise NoDriver(f"this machine has no AMD driver ({error})") from error
        self._handles: dict[str, Any] = {}

    def gpus(self) -> list[Gpu]:
        """Return the devices in the order of HIP and of `ROCR_VISIBLE_DEVICES`."""
        self._handles.clear()
        found = []
        for number, handle in enumerate(self._ask("amdsmi_get_processor_handles") or ()):
            told = self._ask("amdsmi_get_gpu_enumeration_info", handle) or {}  # since ROCm 6.4
            place = told.get("hip_id")
            found.append((place if isinstance(place, int) else number, number, handle, told))
        devices = []
        for index, (*_, handle, told) in enumerate(sorted(found, key=lambda each: each[:2])):
            uuid = self._uuid(handle, told, index)
            self._handles[uuid] = handle
            asic = self._ask("amdsmi_get_gpu_asic_info", handle) or {}
            memory = self._ask("amdsmi_get_gpu_vram_usage", handle) or {}
            total = _number(memory.get("vram_total"))
            devices.append(Gpu(str(index), uuid, str(asic.get("market_name") or "GPU"), total, entry=str(index)))
        return devices

    def look(self, uuid: str) -> Look:
        handle = self._handles.get(uuid)
        if handle is None:
            return Look()
        memory = self._ask("amdsmi_get_gpu_vram_usage", handle) or {}
        total, used = _number(memory.get("vram_total")), _number(memory.get("vram_used"))
        activity = self._ask("amdsmi_get_gpu_activity", handle) or {}
        return Look(
            None if total is None or used is None else total - used,
            _number(activity.get("gfx_activity")),
            self._processes(handle),
        )

    def close(self) -> None:
        self._ask("amdsmi_shut_down")

    def _uuid(self, handle: Any, told: dict[str, Any], index: int) -> str:
        """Return HIP's name of a device, or the library's; partitions of one device may share it."""
        uuid = str(told.get("hip_uuid") or "")
        if not uuid.startswith("GPU-"):
            uuid = f"GPU-{self._ask('amdsmi_get_gpu_device_uuid', handle) or index}"
        return f"{uuid}-{index}" if uuid in self._handles else uuid

    def _processes(self, handle: Any) -> tuple[GpuProcess, ...]:
        found = []
        for each in self._ask("amdsmi_get_gpu_process_list", handle) or ():
            if isinstance(each, dict) and isinstance(each.get("pid"), int):
                used = _number((each.get("memory_usage") or {}).get("vram_mem"))
                found.append(GpuProcess(each["pid"], None if used is None else used // _MIB))
        return tuple(found)

    def _ask(self, name: str, *arguments: Any) -> Any:
        with contextlib.suppress(Exception):  # not there in this version, not supported by this device
            question: Callable[..., Any] = getattr(self._smi, name)
            return question(*arguments)
        return None


def _number(value: Any) -> int | None:
    """Return a whole number; None for what the library writes where it knows none: `N/A`."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
