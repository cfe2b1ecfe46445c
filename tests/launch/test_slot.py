from __future__ import annotations

import logging
import pickle
from typing import Any

import pytest
from recorded import MIGS, PARENT, UUIDS, RecordedGpus

from trainctl.errors import SettingError
from trainctl.launch.settings import check_settings
from trainctl.launch.slots.devices import Unasked, Visible, visible_gpus
from trainctl.launch.slots.slot import Slot, asks_for_gpus, make_slots

EIGHT = visible_gpus({}, RecordedGpus)
SPLIT = visible_gpus({}, lambda: RecordedGpus(split=True))
NONE = Visible(scope="this machine has no NVIDIA driver (Driver Not Loaded)")


def names(setting: Any, visible: Visible = EIGHT, cores: int = 16, **options: int) -> list[str]:
    return [slot.name for slot in make_slots(setting, visible, cores, **options)]


def test_auto_is_one_slot_per_gpu_as_uuids() -> None:
    slots = make_slots("auto", EIGHT, 16)
    assert [slot.name for slot in slots] == [str(index) for index in range(8)]
    assert [slot.devices for slot in slots] == [(uuid,) for uuid in UUIDS]
    assert [slot.number for slot in slots] == list(range(8))


@pytest.mark.parametrize(("cores", "count"), [(1, 1), (2, 1), (7, 3), (64, 32)])
def test_auto_without_gpus_is_one_cpu_slot_per_two_cores(cores: int, count: int) -> None:
    assert names("auto", NONE, cores) == ["cpu"] * count


def test_auto_derives_slots_from_gpus_per_job_and_jobs_per_gpu() -> None:
    assert names("auto", gpus_per_job=2) == ["0,1", "2,3", "4,5", "6,7"]
    assert names("auto", jobs_per_gpu=2) == [*map(str, range(8))] * 2
    assert names("auto", gpus_per_job=4, jobs_per_gpu=3) == ["0,1,2,3", "4,5,6,7"] * 3
    assert names("auto", gpus_per_job=8) == ["0,1,2,3,4,5,6,7"]


def test_gpus_left_over_are_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert names("auto", gpus_per_job=3) == ["0,1,2", "3,4,5"]
    assert "hydra.launcher.gpus_per_job=3 leaves GPU 6, 7 without a job" in caplog.text


def test_more_gpus_per_job_than_there_are_is_refused() -> None:
    with pytest.raises(SettingError, match="gpus_per_job=9 is more than there are; visible GPUs: 0, 1, 2"):
        names("auto", gpus_per_job=9)


@pytest.mark.parametrize("option", ["gpus_per_job", "jobs_per_gpu"])
def test_gpus_that_are_asked_for_without_a_driver_are_refused(option: str) -> None:
    with pytest.raises(SettingError, match=rf"{option}=1 needs GPUs, but none is visible: .* no NVIDIA driver"):
        names("auto", NONE, **{option: 1})


def test_count_is_dealt_over_the_gpus_in_turn() -> None:
    assert names(3) == ["0", "1", "2"]
    assert names(10) == [*map(str, range(8)), "0", "1"]
    assert names(3, NONE, cores=1) == ["cpu"] * 3


def test_list_is_taken_as_it_stands() -> None:
    slots = make_slots(["1", "2, 3", "1", UUIDS[4], UUIDS[5][:8], " cpu "], EIGHT, 16)
    assert [slot.devices for slot in slots] == [
        (UUIDS[1],),
        (UUIDS[2], UUIDS[3]),
        (UUIDS[1],),
        (UUIDS[4],),
        (UUIDS[5],),
        (),
    ]
    assert [slot.name for slot in slots] == ["1", "2,3", "1", UUIDS[4], UUIDS[5][:8], "cpu"]


def test_mig_devices_are_slots() -> None:
    assert names("auto", SPLIT) == ["0:0", "0:1", *map(str, range(1, 8))]
    entries = ["0:1", MIGS[0].uuid, f"MIG-{PARENT}/2/0"]
    assert [slot.devices for slot in make_slots(entries, SPLIT, 16)] == [
        (MIGS[1].uuid,),
        (MIGS[0].uuid,),
        (MIGS[1].uuid,),
    ]


def test_gpu_that_is_split_is_no_slot_itself() -> None:
    with pytest.raises(
        SettingError, match="asks for device '0', which is split into MIG devices; name one of 0:0, 0:1"
    ):
        names(["0"], SPLIT)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("8", "asks for device '8', which is not visible here; visible GPUs: 0, 1"),
        ("0,0", "'0,0', which holds one device twice"),
        (f"0,{UUIDS[0]}", "which holds one device twice"),
        ("0,", "'' is not a device"),
        ("-1", "'-1' is not a device"),
        ("cuda:0", "'cuda:0' is not a device; allowed are indices such as 0"),
        ("0,cpu", "'cpu' is not a device"),
    ],
)
def test_entry_that_is_no_device_is_refused(entry: str, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        names(["1", entry])


def test_device_outside_the_preset_is_refused_with_the_preset() -> None:
    visible = visible_gpus({"CUDA_VISIBLE_DEVICES": "4,5"}, RecordedGpus)
    assert names("auto", visible) == ["4", "5"]
    with pytest.raises(SettingError, match=r"visible GPUs: 4, 5 \(CUDA_VISIBLE_DEVICES=4,5; indices are those of"):
        names(["0"], visible)


def test_device_without_a_driver_is_refused_with_the_reason() -> None:
    with pytest.raises(
        SettingError, match=r"device '0', which is not visible here; visible GPUs: none \(this machine has"
    ):
        names(["0"], NONE)


def test_slot_shows_its_job_only_its_devices() -> None:
    environment = Slot("2,3", (UUIDS[2], UUIDS[3]), 0, {"OMP_NUM_THREADS": "4"}).environment()
    meeting = {name: environment.pop(name) for name in list(environment) if "MASTER" in name}
    assert set(meeting) == {"MASTER_ADDR", "MASTER_PORT", "PET_MASTER_ADDR", "PET_MASTER_PORT"}
    assert environment == {
        "CUDA_VISIBLE_DEVICES": f"{UUIDS[2]},{UUIDS[3]}",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "TRAINCTL_SLOT": "2,3",
        "OMP_NUM_THREADS": "4",
    }
    hidden = Slot("cpu", (), 0).environment()
    assert (hidden["CUDA_VISIBLE_DEVICES"], hidden["HIP_VISIBLE_DEVICES"]) == ("", "-1"), (
        "HIP sees all of an empty list"
    )


def unasked(**presets: str) -> Visible:
    return Visible(scope="no library", unasked=Unasked(presets))


def shown(entry: str, **presets: str) -> dict[str, str]:
    (slot,) = make_slots([entry], unasked(**presets), 2)
    return {
        name: value
        for name, value in slot.environment().items()
        if name not in ("CUDA_DEVICE_ORDER", "TRAINCTL_SLOT") and "MASTER" not in name
    }


def test_list_that_nobody_can_be_asked_about_is_shown_in_the_variables_of_all_makers() -> None:
    assert shown("2,3") == dict.fromkeys(("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"), "2,3")
    assert shown("0.1")["ZE_AFFINITY_MASK"] == "0.1"
    assert shown("GPU-1f3a") == dict.fromkeys(("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"), "GPU-1f3a")
    assert shown("2", ROCR_VISIBLE_DEVICES="4, 2,")["HIP_VISIBLE_DEVICES"] == "1", "HIP counts within ROCR"
    assert shown("2", ROCR_VISIBLE_DEVICES="4,2", HIP_VISIBLE_DEVICES="1")["HIP_VISIBLE_DEVICES"] == "1"
    assert shown("cpu")["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(
    ("entry", "presets"),
    [
        ("0", {"CUDA_VISIBLE_DEVICES": "4,5"}),
        ("0", {"ROCR_VISIBLE_DEVICES": "4,5"}),
        ("4", {"ROCR_VISIBLE_DEVICES": "4,5", "HIP_VISIBLE_DEVICES": "1"}),
        ("1", {"ZE_AFFINITY_MASK": "0"}),
    ],
)
def test_device_outside_of_a_preset_is_refused_though_nobody_can_be_asked(entry: str, presets: dict[str, str]) -> None:
    *_, (variable, preset) = presets.items()
    with pytest.raises(SettingError, match=rf"asks for device '{entry}', which is not in {variable}={preset}"):
        make_slots([entry], unasked(**presets), 2)


@pytest.mark.parametrize("setting", ["auto", 3])
def test_slots_without_a_count_of_gpus_hide_nothing(setting: Any) -> None:
    assert all(slot.environment() == {"TRAINCTL_SLOT": "cpu"} for slot in make_slots(setting, unasked(), 8))


def test_slot_travels_to_the_job() -> None:
    slot = Slot("2", (UUIDS[2],), 3, {"OMP_NUM_THREADS": "4"})
    assert pickle.loads(pickle.dumps(slot)) == slot


def test_only_cpu_slots_ask_for_no_gpus() -> None:
    assert not asks_for_gpus(["cpu", "cpu"])
    assert asks_for_gpus(["cpu", "0"])
    assert asks_for_gpus("auto")
    assert asks_for_gpus(2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gpus_per_job": 0}, r"hydra.launcher.gpus_per_job must be a whole number, at least 1 or null, but got 0"),
        (
            {"jobs_per_gpu": True},
            r"hydra.launcher.jobs_per_gpu must be a whole number, at least 1 or null, but got True",
        ),
        ({"jobs_per_gpu": 1.5}, r"hydra.launcher.jobs_per_gpu must be a whole number"),
        ({"min_free_mib": -1}, r"hydra.launcher.min_free_mib must be a whole number, at least 1 or null, but got -1"),
        (
            {"max_foreign_util": 101},
            r"hydra.launcher.max_foreign_util must be a percentage from 0 to 100, or null, but got",
        ),
        ({"max_foreign_util": float("nan")}, r"hydra.launcher.max_foreign_util must be a percentage"),
        ({"stagger_s": -0.5}, r"hydra.launcher.stagger_s must be a number, at least 0, but got -0.5"),
        ({"share": 1}, r"hydra.launcher.share must be true or false but got 1"),
        ({"slots": ["cuda"]}, r"hydra.launcher.slots has the entry 'cuda', in which 'cuda' is not a device"),
        ({"slots": [0, 1], "jobs_per_gpu": 2}, r"jobs_per_gpu=2 derives .*slots=\['0', '1'\] gives them already"),
        ({"slots": 4, "gpus_per_job": 2}, r"gpus_per_job=2 derives the slots from slots=auto, but .*slots=4 gives"),
    ],
)
def test_settings_of_slots_are_refused_up_front(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        check_settings(**options)


def test_settings_of_slots_have_defaults_that_ask_for_nothing() -> None:
    settings = check_settings()
    assert (settings.gpus_per_job, settings.jobs_per_gpu, settings.min_free_mib) == (None, None, None)
    assert (settings.max_foreign_util, settings.stagger_s, settings.share) == (None, 0.0, False)
