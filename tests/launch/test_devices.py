from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded import MIGS, PARENT, UUIDS, RecordedGpus

from trainctl.errors import SettingError
from trainctl.launch.slots.devices import visible_gpus
from trainctl.launch.slots.gpu import NoDriver, SilentDriver


def visible(preset: str | None, *, split: bool = False, **environment: str) -> list[str]:
    if preset is not None:
        environment["CUDA_VISIBLE_DEVICES"] = preset
    return [gpu.uuid for gpu in visible_gpus(environment, lambda: RecordedGpus(split=split)).gpus]


def no_driver() -> Any:
    raise NoDriver("this machine has no NVIDIA driver (Driver Not Loaded)")


def test_all_gpus_are_visible_without_a_preset() -> None:
    assert visible(None) == UUIDS


@pytest.mark.parametrize("preset", ["", " ", "-1", "NoDevFiles"])
def test_preset_that_hides_all_asks_no_driver(preset: str) -> None:
    def fail() -> Any:
        raise AssertionError("the driver was asked")

    found = visible_gpus({"CUDA_VISIBLE_DEVICES": preset}, fail)
    assert found.gpus == ()
    assert "CUDA_VISIBLE_DEVICES" in found.scope


@pytest.mark.parametrize(
    ("preset", "indices"),
    [
        ("2,3", [2, 3]),
        ("3, 2", [3, 2]),
        (UUIDS[4], [4]),
        (f"{UUIDS[7]},1", [7, 1]),
        (UUIDS[5][:8], [5]),
        ("6,6", [6]),
        ("1,-1,2", [1]),
        ("-1,2", []),
        ("1,", [1]),
        (" 1 , , 2,", [1, 2]),
        (f"{UUIDS[3]},3,", [3]),
    ],
)
def test_preset_is_the_universe_in_its_order(preset: str, indices: list[int]) -> None:
    assert visible(preset) == [UUIDS[index] for index in indices]


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ("8", "names '8', which is not visible here; visible GPUs: 0, 1, 2"),
        ("GPU-ffff", "names 'GPU-ffff', which is not visible here"),
        ("GPU-1f3a", "names 'GPU-1f3a', which is the beginning of GPU-1f3a9c04.*, GPU-1f3ad2b7.*; write more of it"),
        ("zero", "names 'zero', which is not visible here"),
        ("GPU-", "names 'GPU-', which is not visible here"),
    ],
)
def test_preset_that_names_no_device_is_refused(preset: str, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        visible(preset)


@pytest.mark.parametrize(
    ("preset", "uuids"),
    [
        (None, [MIGS[0].uuid, MIGS[1].uuid, *UUIDS[1:]]),
        (MIGS[1].uuid, [MIGS[1].uuid]),
        (MIGS[1].uuid[:18], [MIGS[1].uuid]),
        (f"MIG-{PARENT}/1/0", [MIGS[0].uuid]),
        ("0", [MIGS[0].uuid, MIGS[1].uuid]),
        (f"{PARENT},3", [MIGS[0].uuid, MIGS[1].uuid, UUIDS[3]]),
    ],
)
def test_gpu_that_is_split_stands_for_its_mig_devices(preset: str | None, uuids: list[str]) -> None:
    assert visible(preset, split=True) == uuids


def test_no_driver_leaves_no_gpus_and_says_why() -> None:
    found = visible_gpus({}, no_driver)
    assert found.gpus == ()
    assert found.scope == "this machine has no NVIDIA driver (Driver Not Loaded)"


@pytest.mark.parametrize(
    ("environment", "sign"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0,1,"}, "CUDA_VISIBLE_DEVICES=0,1, names some"),
        ({"ROCR_VISIBLE_DEVICES": "0,1"}, "ROCR_VISIBLE_DEVICES=0,1 names some"),
        ({"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "1"}, "HIP_VISIBLE_DEVICES=1 names some"),
        ({"ZE_AFFINITY_MASK": "0.1"}, "ZE_AFFINITY_MASK=0.1 names some"),
        ({}, ""),
    ],
)
def test_gpus_that_are_only_named_cannot_be_asked_for(tmp_path: Path, environment: dict[str, str], sign: str) -> None:
    found = visible_gpus(environment, no_driver, root=tmp_path)
    assert found.gpus == ()
    assert found.unasked is not None
    assert found.unasked.sign == sign


@pytest.mark.parametrize("variable", ["CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"])
def test_gpus_that_are_hidden_are_not_asked_for_without_a_driver_either(tmp_path: Path, variable: str) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kfd").touch()
    found = visible_gpus({variable: "-1"}, no_driver, root=tmp_path)
    assert found.unasked is None
    assert "hides them" in found.scope


@pytest.mark.parametrize(
    ("path", "is_sign"),
    [
        ("dev/nvidiactl", True),  # a container without NVML
        ("usr/lib/wsl/lib/libcuda.so.1", True),
        ("dev/nvhost-gpu", True),  # a Jetson
        ("dev/kfd", True),  # AMD
        ("dev/dxg", False),  # every WSL has it
    ],
)
def test_files_of_a_driver_show_that_there_are_gpus(tmp_path: Path, path: str, is_sign: bool) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).touch()
    found = visible_gpus({}, no_driver, root=tmp_path).unasked
    assert found is not None
    assert found.sign == (f"/{path} is there" if is_sign else "")


@pytest.mark.parametrize(
    ("bus", "vendor", "is_sign"), [("3a", "8086", True), ("00", "8086", False), ("3a", "1a03", False)]
)
def test_intel_gpu_is_a_sign_unless_it_is_inside_of_the_processor(
    tmp_path: Path, bus: str, vendor: str, is_sign: bool
) -> None:
    device = tmp_path / f"sys/devices/pci0000:00/0000:{bus}:02.0"
    node = tmp_path / "sys/class/drm/renderD128"
    device.mkdir(parents=True)
    node.mkdir(parents=True)
    (device / "vendor").write_text(f"0x{vendor}\n")
    (node / "device").symlink_to(device)
    found = visible_gpus({}, no_driver, root=tmp_path).unasked
    assert found is not None
    assert found.sign == ("/dev/dri/renderD128 is there" if is_sign else "")


def test_driver_that_does_not_answer_is_an_error_unless_the_slots_are_a_list() -> None:
    def fail() -> Any:
        raise SilentDriver("the NVIDIA driver says: Driver/library version mismatch")

    with pytest.raises(
        SettingError, match=r"the NVIDIA driver says: .*; fix that, name them .* CUDA_VISIBLE_DEVICES=-1"
    ):
        visible_gpus({}, fail)
    assert visible_gpus({}, fail, is_list=True).unasked is not None


@pytest.mark.parametrize(("order", "is_said"), [("FASTEST_FIRST", True), ("PCI_BUS_ID", False)])
def test_order_of_unlike_gpus_is_said(caplog: pytest.LogCaptureFixture, order: str, is_said: bool) -> None:
    with caplog.at_level(logging.INFO):
        visible("0", CUDA_DEVICE_ORDER=order)
    assert ("interpreted in PCI bus order" in caplog.text) == is_said


def test_entries_of_the_record_are_not_in_pci_order() -> None:
    """Else no test above could tell the two orders apart."""
    from recorded import RECORD

    assert [entry["uuid"] for entry in RECORD] != UUIDS


def test_ambiguous_prefix_names_all_that_fit() -> None:
    find: Callable[[str], Any] = visible_gpus({}, RecordedGpus).pick
    with pytest.raises(SettingError, match=re.escape(f"{UUIDS[0]}, {UUIDS[1]}")):
        find("GPU-1f3a")
