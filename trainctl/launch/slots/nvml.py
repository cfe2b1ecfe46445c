"""NVIDIA's management library. Initialises no CUDA, so jobs may still be forked afterwards."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from trainctl.launch.slots.gpu import NVIDIA, Gpu, GpuProcess, Look, NoDriver, SilentDriver

_MIB = 1 << 20
_SAMPLES_US = 2_000_000  # how far back to look for a process's utilisation; the driver samples several times a second


class NvmlReader:
    """A `GpuReader` for NVIDIA's driver. What a device or driver does not support is None, never an error.

    Raises:
        NoDriver: there is none.
        SilentDriver: there is one, and it does not answer: no reason to train on processor cores unasked.
    """

    kind = NVIDIA

    def __init__(self) -> None:
        try:
            import pynvml
        except ImportError as error:
            raise NoDriver("the package nvidia-ml-py is not installed") from error
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
        except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded) as error:
            raise NoDriver(f"this machine has no NVIDIA driver ({error})") from error
        except pynvml.NVMLError as error:
            raise SilentDriver(f"the NVIDIA driver says: {error}") from error
        self._handles: dict[str, Any] = {}

    def gpus(self) -> list[Gpu]:
        nvml = self._nvml
        found = []
        try:
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as error:
            raise SilentDriver(f"the NVIDIA driver says: {error}") from error
        for number in range(count):
            # a GPU that has fallen off the bus, or is somebody else's, does not hide the others
            handle = self._ask(nvml.nvmlDeviceGetHandleByIndex, number)
            if handle is not None:
                bus = self._ask(nvml.nvmlDeviceGetPciInfo, handle)  # a Jetson's GPU is on none
                found.append(("" if bus is None else _text(bus.busId), handle))
        devices = []
        for index, (_, handle) in enumerate(sorted(found, key=lambda pair: pair[0])):
            gpu = self._describe(handle, str(index))
            devices += self._mig_devices(handle, gpu) if self._is_split(handle) else [gpu]
        return devices

    def look(self, uuid: str) -> Look:
        handle = self._handles.get(uuid)
        if handle is None:
            return Look()
        memory = self._ask(self._nvml.nvmlDeviceGetMemoryInfo, handle)
        rates = self._ask(self._nvml.nvmlDeviceGetUtilizationRates, handle)
        return Look(
            None if memory is None else memory.free // _MIB,
            None if rates is None else int(rates.gpu),
            self._processes(handle),
        )

    def close(self) -> None:
        with contextlib.suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()

    def _describe(self, handle: Any, index: str, parent: str | None = None, old_id: str | None = None) -> Gpu:
        uuid = _text(self._ask(self._nvml.nvmlDeviceGetUUID, handle) or index)
        self._handles[uuid] = handle
        memory = self._ask(self._nvml.nvmlDeviceGetMemoryInfo, handle)
        name = _text(self._ask(self._nvml.nvmlDeviceGetName, handle) or "GPU")
        return Gpu(index, uuid, name, None if memory is None else memory.total // _MIB, parent, old_id)

    def _is_split(self, handle: Any) -> bool:
        mode = self._ask(self._nvml.nvmlDeviceGetMigMode, handle)
        return mode is not None and mode[0] == self._nvml.NVML_DEVICE_MIG_ENABLE

    def _mig_devices(self, handle: Any, gpu: Gpu) -> list[Gpu]:
        nvml = self._nvml
        devices = []
        for number in range(self._ask(nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
            mig = self._ask(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number)
            if mig is None:
                continue  # no MIG device at this place
            instance = self._ask(nvml.nvmlDeviceGetGpuInstanceId, mig)
            compute = self._ask(nvml.nvmlDeviceGetComputeInstanceId, mig)
            old_id = f"MIG-{gpu.uuid}/{instance}/{compute}"
            devices.append(self._describe(mig, f"{gpu.index}:{number}", gpu.uuid, old_id))
        return devices

    def _processes(self, handle: Any) -> tuple[GpuProcess, ...]:
        nvml = self._nvml
        seen: dict[int, int | None] = {}
        for ask in (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses):
            for process in self._ask(ask, handle) or ():
                used = process.usedGpuMemory
                seen[process.pid] = None if used is None else used // _MIB
        if not seen:
            return ()
        since = time.time_ns() // 1000 - _SAMPLES_US
        samples = self._ask(nvml.nvmlDeviceGetProcessUtilization, handle, since) or ()
        busy = {sample.pid: int(sample.smUtil) for sample in sorted(samples, key=lambda sample: int(sample.timeStamp))}
        idle = 0 if busy else None  # without any sample nothing is known; with some, a process that has none was idle
        return tuple(GpuProcess(pid, mib, busy.get(pid, idle)) for pid, mib in seen.items())

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return question(*arguments)
        except self._nvml.NVMLError:
            return None


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
