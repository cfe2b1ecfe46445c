from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded import MIGS, PARENT, UUIDS, RecordedGpus

from trainctl.errors import SettingError
from trainctl.launch.slots.devices import usable_cores, visible_gpus
from trainctl.launch.slots.gpu import NoDriver


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


def test_preset_without_a_driver_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert visible_gpus({"CUDA_VISIBLE_DEVICES": "0"}, no_driver).gpus == ()
    assert "CUDA_VISIBLE_DEVICES=0 asks for GPUs, but this machine has no NVIDIA driver" in caplog.text


@pytest.mark.parametrize(("order", "is_said"), [("FASTEST_FIRST", True), ("PCI_BUS_ID", False)])
def test_order_of_unlike_gpus_is_said(caplog: pytest.LogCaptureFixture, order: str, is_said: bool) -> None:
    with caplog.at_level(logging.INFO):
        visible("0", CUDA_DEVICE_ORDER=order)
    assert ("taken in PCI bus order" in caplog.text) == is_said


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000\n", None), ("100000 100000\n", 1), ("50000 100000\n", 1), ("99900000 100000\n", None)],
)
def test_cores_of_a_container_are_its_share(tmp_path: Path, quota: str, expected: int | None) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert usable_cores(tmp_path / "cpu.max") == (expected or usable_cores(tmp_path / "none"))


def test_entries_of_the_record_are_not_in_pci_order() -> None:
    """Else no test above could tell the two orders apart."""
    from recorded import RECORD

    assert [entry["uuid"] for entry in RECORD] != UUIDS


def test_ambiguous_prefix_names_all_that_fit() -> None:
    find: Callable[[str], Any] = visible_gpus({}, RecordedGpus).pick
    with pytest.raises(SettingError, match=re.escape(f"{UUIDS[0]}, {UUIDS[1]}")):
        find("GPU-1f3a")
