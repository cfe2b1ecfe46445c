"""A driver as NVML's Python package shows it, with two GPUs and all that a launcher asks of them."""

from __future__ import annotations

UUIDS = ["GPU-aaaa0001", "GPU-bbbb0002"]  # in PCI bus order

DRIVER = f"""
import pathlib, types
from trainctl.attempt import host

host.HOST = pathlib.Path(__file__).parent
NVML_DEVICE_MIG_ENABLE = 1
class NVMLError(Exception): pass
class NVMLError_LibraryNotFound(NVMLError): pass
class NVMLError_DriverNotLoaded(NVMLError): pass
class NVMLError_GpuIsLost(NVMLError): pass
class NVMLError_NoPermission(NVMLError): pass

def __getattr__(name):  # what is not here is not supported
    def ask(*arguments): raise NVMLError(name)
    return ask

def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetPciInfo(handle): return types.SimpleNamespace(busId=f"00000000:{{handle}}7:00.0")
def nvmlDeviceGetUUID(handle): return {UUIDS!r}[handle]
def nvmlDeviceGetMemoryInfo(handle): return types.SimpleNamespace(total=80 << 30, free=70 << 30)
"""
