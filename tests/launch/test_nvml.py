"""The driver's answers become GPUs in PCI bus order; what it does not tell is None."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from recorded import IN_PCI_ORDER, MIGS, PARENT, RECORD, UUIDS, RecordedGpus

from trainctl.launch.slots.gpu import Gpu, GpuProcess, Look, NoDriver, SilentDriver
from trainctl.launch.slots.nvml import NvmlReader

pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
_MIB = 1 << 20


class RecordedDriver:
    """NVML's functions over the record; handles are entries of it."""

    def __init__(self) -> None:
        self.has_mig = False
        self.shutdowns = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        unsupported = (name for name in dir(pynvml) if name.startswith("nvmlDevice"))
        for name in unsupported:
            monkeypatch.setattr(pynvml, name, self._refuse)
        for name in (name for name in dir(self) if name.startswith("nvml")):
            monkeypatch.setattr(pynvml, name, getattr(self, name))

    def _refuse(self, *_: Any) -> Any:
        raise pynvml.NVMLError_NotSupported

    def nvmlInit(self) -> None:
        pass

    def nvmlShutdown(self) -> None:
        self.shutdowns += 1

    def nvmlDeviceGetCount(self) -> int:
        return len(RECORD)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:
        return RECORD[index]

    def nvmlDeviceGetPciInfo(self, handle: dict[str, Any]) -> Any:
        return SimpleNamespace(busId=handle["bus_id"].encode())  # older bindings give bytes

    def nvmlDeviceGetUUID(self, handle: dict[str, Any]) -> bytes:
        return str(handle["uuid"]).encode()

    def nvmlDeviceGetName(self, handle: dict[str, Any]) -> str:
        return str(handle["name"])

    def nvmlDeviceGetMemoryInfo(self, handle: dict[str, Any]) -> Any:
        return SimpleNamespace(total=handle["total_mib"] * _MIB, free=handle["free_mib"] * _MIB)

    def nvmlDeviceGetUtilizationRates(self, handle: dict[str, Any]) -> Any:
        if handle["utilisation"] is None:
            raise pynvml.NVMLError_NotSupported
        return SimpleNamespace(gpu=handle["utilisation"])

    def nvmlDeviceGetComputeRunningProcesses(self, handle: dict[str, Any]) -> list[Any]:
        return [
            SimpleNamespace(pid=each["pid"], usedGpuMemory=None if each["mib"] is None else each["mib"] * _MIB)
            for each in handle["processes"]
        ]

    def nvmlDeviceGetProcessUtilization(self, handle: dict[str, Any], since: int) -> list[Any]:
        samples = [
            SimpleNamespace(pid=each["pid"], smUtil=util, timeStamp=time)
            for each in handle["processes"]
            if each["utilisation"] is not None
            for time, util in ((2, each["utilisation"]), (1, 55))  # not in their order
        ]
        if not samples:
            raise pynvml.NVMLError_NotFound
        return samples

    def nvmlDeviceGetMigMode(self, handle: dict[str, Any]) -> list[int]:
        if not self.has_mig:
            raise pynvml.NVMLError_NotSupported
        return [int(handle["uuid"] == PARENT)] * 2

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: dict[str, Any]) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: dict[str, Any], index: int) -> dict[str, Any]:
        if index >= len(MIGS):
            raise pynvml.NVMLError_NotFound
        mig = MIGS[index]
        facts = {"uuid": mig.uuid, "name": mig.name, "total_mib": mig.total_mib, "free_mib": mig.total_mib}
        return {**facts, "utilisation": None, "processes": [], "instance": index + 1}

    def nvmlDeviceGetGpuInstanceId(self, handle: dict[str, Any]) -> int:
        return int(handle["instance"])

    def nvmlDeviceGetComputeInstanceId(self, handle: dict[str, Any]) -> int:
        return 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> RecordedDriver:
    recorded = RecordedDriver()
    recorded.install(monkeypatch)
    return recorded


@pytest.mark.usefixtures("driver")
def test_gpus_are_listed_in_pci_bus_order() -> None:
    assert NvmlReader().gpus() == RecordedGpus().gpus()


def test_gpu_that_is_split_is_listed_as_its_mig_devices(driver: RecordedDriver) -> None:
    driver.has_mig = True
    reader = NvmlReader()
    assert reader.gpus() == RecordedGpus(split=True).gpus()
    assert reader.look(MIGS[1].uuid) == Look(MIGS[1].total_mib, None, ())


@pytest.mark.usefixtures("driver")
def test_look_tells_memory_use_and_processes() -> None:
    reader = NvmlReader()
    reader.gpus()
    assert {uuid: reader.look(uuid) for uuid in UUIDS} == {uuid: RecordedGpus().looks[uuid] for uuid in UUIDS}
    assert [process["utilisation"] for process in IN_PCI_ORDER[2]["processes"]] == [0, 3]


def test_process_without_a_sample_was_idle_where_others_have_one(
    driver: RecordedDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [SimpleNamespace(pid=41377, smUtil=80, timeStamp=1)]
    monkeypatch.setattr(pynvml, "nvmlDeviceGetProcessUtilization", lambda *_: samples)
    reader = NvmlReader()
    reader.gpus()
    assert reader.look(UUIDS[2]).processes == (GpuProcess(41377, 9120, 80), GpuProcess(41378, 9120, 0))


def test_gpu_that_is_lost_hides_no_other(driver: RecordedDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(index: int) -> Any:
        if RECORD[index]["uuid"] == UUIDS[7]:
            raise pynvml.NVMLError_GpuIsLost
        return RECORD[index]

    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lose)
    assert [gpu.uuid for gpu in NvmlReader().gpus()] == UUIDS[:7]


def test_device_that_stops_answering_tells_nothing(driver: RecordedDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = NvmlReader()
    reader.gpus()
    driver.install(monkeypatch)

    def lose(*_: Any) -> Any:
        raise pynvml.NVMLError_GpuIsLost

    for name in ("MemoryInfo", "UtilizationRates", "ComputeRunningProcesses", "GraphicsRunningProcesses"):
        monkeypatch.setattr(pynvml, f"nvmlDeviceGet{name}", lose)
    assert reader.look(UUIDS[0]) == Look()
    assert reader.look("GPU-none") == Look()


@pytest.mark.parametrize("error", ["LibraryNotFound", "DriverNotLoaded"])
def test_no_driver_is_said(monkeypatch: pytest.MonkeyPatch, error: str) -> None:
    def fail() -> None:
        raise getattr(pynvml, f"NVMLError_{error}")

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    with pytest.raises(NoDriver, match=r"this machine has no NVIDIA driver \("):
        NvmlReader()


def test_driver_that_does_not_answer_is_an_error_not_a_machine_without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise pynvml.NVMLError_LibRmVersionMismatch

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    with pytest.raises(SilentDriver, match="the NVIDIA driver says: "):
        NvmlReader()


def test_gpu_of_a_jetson_is_on_no_bus_and_tells_little(driver: RecordedDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PciInfo", "MemoryInfo", "UtilizationRates", "ComputeRunningProcesses", "ProcessUtilization"):
        monkeypatch.setattr(pynvml, f"nvmlDeviceGet{name}", driver._refuse)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 1)
    reader = NvmlReader()
    (gpu,) = reader.gpus()
    assert (gpu.index, gpu.uuid, gpu.total_mib) == ("0", RECORD[0]["uuid"], None)
    assert reader.look(gpu.uuid) == Look()
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", driver._refuse)
    assert [gpu.uuid for gpu in reader.gpus()] == ["0"], "by which CUDA knows it too"


def test_reader_lets_the_driver_go(driver: RecordedDriver) -> None:
    NvmlReader().close()
    assert driver.shutdowns == 1


# -- with a real device ----------------------------------------------------------------------------------------------

TAKES_MEMORY = """
import ctypes, sys
cuda = ctypes.CDLL("libcuda.so.1")
def check(code): assert code == 0, code
device, context, pointer = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
uuid = (ctypes.c_ubyte * 16)()
check(cuda.cuInit(0))
check(cuda.cuDeviceGet(ctypes.byref(device), 0))
check(cuda.cuDeviceGetUuid(uuid, device))
check(cuda.cuCtxCreate_v2(ctypes.byref(context), 0, device))
check(cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(1 << 30)))
print(bytes(uuid).hex(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def real() -> Iterator[NvmlReader]:
    try:
        reader = NvmlReader()
    except NoDriver as error:
        pytest.skip(f"needs a real device: {error}")
    with contextlib.closing(reader):
        if not reader.gpus():
            pytest.skip("needs a real device: the NVIDIA driver lists none")
        yield reader


@pytest.mark.gpu
def test_uuid_shows_cuda_just_that_device_and_its_memory_is_seen(real: NvmlReader) -> None:
    gpu: Gpu = real.gpus()[-1]
    before = real.look(gpu.uuid)
    assert before.free_mib is not None
    environment = {"CUDA_VISIBLE_DEVICES": gpu.uuid, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    with subprocess.Popen(
        [sys.executable, "-c", TAKES_MEMORY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        seen = process.stdout.readline().strip()
        during = real.look(gpu.uuid)
        process.communicate()
    assert gpu.uuid.replace("-", "").endswith(seen)
    assert during.free_mib is not None
    assert during.free_mib <= before.free_mib - 1024
