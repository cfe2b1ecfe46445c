"""AMD's library is asked for its GPUs; `ROCR_VISIBLE_DEVICES` and `HIP_VISIBLE_DEVICES` mean what they mean to ROCm."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import amd_driver
import pytest
from amd_driver import UUIDS

from trainctl.errors import SettingError
from trainctl.launch.slots.amd import AmdReader
from trainctl.launch.slots.devices import open_reader, visible_gpus
from trainctl.launch.slots.gpu import GpuProcess, Look, NoDriver
from trainctl.launch.slots.nvml import NvmlReader
from trainctl.launch.slots.slot import make_slots


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    made: Any = ModuleType("amdsmi")
    exec(amd_driver.LIBRARY, made.__dict__)
    monkeypatch.setitem(sys.modules, "amdsmi", made)
    return made


@pytest.fixture
def without_nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: NvmlReader) -> None:
        raise NoDriver("this machine has no NVIDIA driver")

    monkeypatch.setattr(NvmlReader, "__init__", fail)


@pytest.mark.usefixtures("library")
def test_gpus_are_listed_in_the_order_of_hip() -> None:
    reader = AmdReader()
    for _ in range(2):  # it may be asked again
        gpus = reader.gpus()
        assert [(gpu.index, gpu.uuid) for gpu in gpus] == [(str(index), uuid) for index, uuid in enumerate(UUIDS)]
    assert {(gpu.name, gpu.total_mib) for gpu in gpus} == {("AMD Instinct MI300X", 196592)}


@pytest.mark.usefixtures("library")
def test_look_tells_memory_use_and_processes_as_far_as_they_are_known() -> None:
    reader = AmdReader()
    reader.gpus()
    assert reader.look(UUIDS[1]) == Look(195309, 7, (GpuProcess(4711, 5, None),))
    assert reader.look(UUIDS[2]) == Look(194309, None, ())
    assert reader.look("GPU-none") == Look()


def test_library_before_rocm_6_4_is_asked_in_its_own_order(library: Any) -> None:
    del library.amdsmi_get_gpu_enumeration_info
    gpus = AmdReader().gpus()
    assert [gpu.index for gpu in gpus] == ["0", "1", "2", "3"]
    assert [gpu.uuid[:6] for gpu in gpus] == ["GPU-01", "GPU-00", "GPU-02", "GPU-03"]


def test_partitions_that_share_a_uuid_are_told_apart(library: Any) -> None:
    told = library.amdsmi_get_gpu_enumeration_info
    library.amdsmi_get_gpu_enumeration_info = lambda handle: {**told(handle), "hip_uuid": UUIDS[0]}
    assert len({gpu.uuid for gpu in AmdReader().gpus()}) == 4


def test_library_is_let_go(library: Any) -> None:
    AmdReader().close()
    assert not library.running


def test_library_without_a_driver_is_said(library: Any) -> None:
    def fail() -> None:
        raise library.AmdSmiLibraryException("AMDSMI_STATUS_DRIVER_NOT_LOADED")

    library.amdsmi_init = fail
    with pytest.raises(NoDriver, match=r"this machine has no AMD driver \(AMDSMI_STATUS_DRIVER_NOT_LOADED"):
        AmdReader()


@pytest.mark.usefixtures("library", "without_nvidia")
@pytest.mark.parametrize(
    ("presets", "devices", "shown"),
    [
        ({}, [0, 1, 2, 3], "0 1 2 3"),
        ({"HIP": "3,1"}, [3, 1], "3 1"),
        ({"CUDA": "2,"}, [2], "2"),  # as HIP reads it
        ({"HIP": "1", "CUDA": "2"}, [1], "1"),
        ({"HIP": "", "CUDA": "2"}, [2], "2"),
        ({"ROCR": "2,3"}, [2, 3], "0 1"),
        ({"ROCR": "3, 1,", "HIP": "1"}, [1], "1"),
        ({"ROCR": f"{UUIDS[2]},0", "HIP": "1,0"}, [0, 2], "1 0"),
        ({"HIP": UUIDS[3]}, [3], "3"),
    ],
)
def test_devices_are_those_of_rocr_and_within_these_those_of_hip(
    presets: dict[str, str], devices: list[int], shown: str
) -> None:
    visible = visible_gpus({f"{name}_VISIBLE_DEVICES": value for name, value in presets.items()})
    assert [gpu.uuid for gpu in visible.gpus] == [UUIDS[index] for index in devices]
    slots = make_slots("auto", visible, 8)
    assert [slot.name for slot in slots] == [str(index) for index in devices], "as amd-smi numbers them"
    for variable in ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"):
        assert [slot.environment()[variable] for slot in slots] == shown.split()
    assert all("ROCR_VISIBLE_DEVICES" not in slot.environment() for slot in slots), "it stays as it is"


@pytest.mark.usefixtures("library", "without_nvidia")
@pytest.mark.parametrize("presets", [{"ROCR": ""}, {"HIP": "-1"}, {"ROCR": "0", "HIP": "-1"}])
def test_devices_that_are_hidden_are_not_used(presets: dict[str, str]) -> None:
    visible = visible_gpus({f"{name}_VISIBLE_DEVICES": value for name, value in presets.items()})
    (slot,) = make_slots("auto", visible, 2)
    assert slot.environment()["HIP_VISIBLE_DEVICES"] == "-1"


@pytest.mark.usefixtures("library", "without_nvidia")
def test_device_outside_of_the_presets_is_refused_with_them() -> None:
    visible = visible_gpus({"ROCR_VISIBLE_DEVICES": "2,3", "HIP_VISIBLE_DEVICES": "1"})
    with pytest.raises(
        SettingError,
        match=r"'2', which is not visible here; visible GPUs: 3 \(ROCR_VISIBLE_DEVICES=2,3, HIP_VISIBLE_DEVICES=1; "
        "indices are those of amd-smi",
    ):
        make_slots(["2"], visible, 8)
    with pytest.raises(SettingError, match=r"HIP_VISIBLE_DEVICES='2' names '2', which is not visible here"):
        visible_gpus({"ROCR_VISIBLE_DEVICES": "2,3", "HIP_VISIBLE_DEVICES": "2"})


@pytest.mark.usefixtures("without_nvidia")
def test_machine_without_any_library_is_said_in_one_line() -> None:
    with pytest.raises(NoDriver, match=r"no NVIDIA driver; the package amdsmi is not installed"):
        open_reader()
