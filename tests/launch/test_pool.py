from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from recorded import UUIDS, Clock, RecordedGpus

from trainctl.errors import SettingError
from trainctl.launch.settings import check_settings
from trainctl.launch.slots.admission import Room, RoomSettings
from trainctl.launch.slots.cores import usable_cores
from trainctl.launch.slots.devices import visible_gpus
from trainctl.launch.slots.gpu import NoDriver
from trainctl.launch.slots.host_locks import HostLocks
from trainctl.launch.slots.pool import SlotPool, make_pool
from trainctl.launch.slots.slot import Slot, make_slots

MakePool = Callable[..., SlotPool]


@pytest.fixture
def reader() -> RecordedGpus:
    return RecordedGpus()


@pytest.fixture
def pool(tmp_path: Path, reader: RecordedGpus) -> Iterator[MakePool]:
    """Make a pool by settings, as a launcher of this user would; all of a test share the machine."""

    def make(environment: dict[str, str] | None = None, **options: Any) -> SlotPool:
        places = tmp_path / "places"
        pool = make_pool(check_settings(**options), environment or {}, open_reader=lambda: reader, directory=places)
        made.append(pool)
        return pool

    made: list[SlotPool] = []
    yield make
    for each in made:
        each.close()


def taken(pool: SlotPool) -> list[Slot]:
    """Take all that can be had."""
    return list(iter(pool.take, None))


def test_slots_are_handed_out_in_the_order_they_became_free(pool: MakePool) -> None:
    slots = pool(slots=["cpu", "cpu", "cpu"])
    first, second, third = taken(slots)
    assert slots.free == 0
    assert slots.look_again_s is None
    for slot in (second, first):
        slots.give_back(slot)
    assert [slot.number for slot in taken(slots)] == [second.number, first.number]
    assert third.number == 2


def test_cpu_slots_ask_no_driver_and_take_no_places(tmp_path: Path) -> None:
    def fail() -> Any:
        raise AssertionError("the driver was asked")

    cpu = make_pool(check_settings(slots=["cpu"]), {}, open_reader=fail, directory=tmp_path / "places")
    assert len(taken(cpu)) == 1
    assert not (tmp_path / "places").exists()


def test_machine_without_a_driver_has_cpu_slots(tmp_path: Path) -> None:
    def fail() -> Any:
        raise NoDriver("this machine has no NVIDIA driver (Driver Not Loaded)")

    places = tmp_path / "places"
    assert {slot.name for slot in make_pool(check_settings(slots=3), {}, open_reader=fail).slots} == {"cpu"}
    listed = make_pool(check_settings(slots=[0, "2,3"]), {}, open_reader=fail, directory=places)
    assert [slot.name for slot in taken(listed)] == ["0", "2,3"]
    other = make_pool(check_settings(slots=[3, "cpu"]), {}, open_reader=fail, directory=places)
    assert [slot.name for slot in taken(other)] == ["cpu"], "device 3 is in use, whatever it is"
    with pytest.raises(
        SettingError, match=r"min_free_mib=10 cannot be enforced, .*no NVIDIA driver.*; remove the setting"
    ):
        make_pool(check_settings(slots=[0], min_free_mib=10), {}, open_reader=fail, directory=places)
    listed.close()
    other.close()


def test_slots_of_auto_are_all_gpus_with_their_share_of_cores(pool: MakePool) -> None:
    slots = taken(pool(jobs_per_gpu=2))
    assert [slot.name for slot in slots] == [*map(str, range(8))] * 2
    share = str(max(1, usable_cores() // 16))
    assert {slot.environment()["OMP_NUM_THREADS"] for slot in slots} == {share}
    assert "OMP_NUM_THREADS" not in taken(pool({"OMP_NUM_THREADS": "7"}, slots=["cpu"]))[0].environment()


def test_full_gpu_is_left_out_and_looked_at_again(pool: MakePool, reader: RecordedGpus) -> None:
    gpus = pool(min_free_mib=20000, slots=[0, 1])
    (only,) = taken(gpus)
    assert only.name == "0"
    assert gpus.free == 1
    assert gpus.waits_for == "GPU 1 has less than 20000 MiB free (hydra.launcher.min_free_mib)"
    assert gpus.look_again_s is not None
    assert 0 < gpus.look_again_s <= 1


def test_pool_is_asked_in_vain_without_asking_the_driver_each_time(reader: RecordedGpus) -> None:
    clock = Clock()
    visible = visible_gpus({}, lambda: reader)
    slots = make_slots("auto", visible, 8, jobs_per_gpu=4)
    room = Room({gpu.uuid: gpu for gpu in visible.gpus}, reader, RoomSettings(min_free_mib=40000), clock=clock)
    gpus = SlotPool(slots, room=room, clock=clock)
    for uuid in UUIDS:
        reader.change(uuid, free_mib=10)
    clock.now += 1
    reader.asked.clear()
    for _ in range(100):
        assert gpus.take() is None
    assert sum(reader.asked.values()) == 8  # 32 slots, 8 devices, 100 times asked
    reader.change(UUIDS[3], free_mib=79999)
    assert gpus.look_again_s == pytest.approx(1)
    clock.now += 1
    assert [slot.devices for slot in taken(gpus)] == [(UUIDS[3],)]  # the second one's memory is not there


def test_staggered_slots_come_one_by_one(reader: RecordedGpus) -> None:
    clock = Clock()
    visible = visible_gpus({}, lambda: reader)
    slots = make_slots(["0", "0", "1"], visible, 8)
    room = Room({gpu.uuid: gpu for gpu in visible.gpus}, reader, RoomSettings(stagger_s=20), clock=clock)
    gpus = SlotPool(slots, room=room, clock=clock)
    assert [slot.name for slot in taken(gpus)] == ["0", "1"]
    assert gpus.look_again_s == pytest.approx(20)
    clock.now += 19
    assert gpus.take() is None
    assert gpus.look_again_s == pytest.approx(1)
    clock.now += 1
    assert [slot.name for slot in taken(gpus)] == ["0"]
    assert gpus.waits_for is None


def test_two_launchers_never_book_a_device_twice(pool: MakePool) -> None:
    one, other = pool(slots=[0, 1]), pool(slots=[1, 2])
    assert [slot.name for slot in taken(one)] == ["0", "1"]
    assert [slot.name for slot in taken(other)] == ["2"]
    assert "slot 1 cannot be used" in str(other.waits_for)
    assert "held by another launcher of yours" in str(other.waits_for)


def test_device_goes_to_the_other_launcher_when_given_back(pool: MakePool) -> None:
    one, other = pool(slots=[0]), pool(slots=[0, "cpu"])
    slot = one.take()
    assert slot is not None
    assert [each.name for each in taken(other)] == ["cpu"]
    one.give_back(slot)
    other.give_back(other.slots[1])  # which has it look again at once
    assert sorted(each.name for each in taken(other)) == ["0", "cpu"]
    assert one.take() is None


@pytest.mark.parametrize("slots", [["0", "0"], ["0", "0,1"]])
def test_two_launchers_share_the_places_of_a_repeated_entry(pool: MakePool, slots: list[str]) -> None:
    one, other = pool(slots=slots), pool(slots=slots)
    assert one.take() is not None
    assert other.take() is not None
    assert one.take() is None
    assert other.take() is None


def test_shared_devices_are_used_by_both(pool: MakePool) -> None:
    one, other = pool(slots=[0]), pool(slots=[0], share=True)
    assert len(taken(one)) == 1
    assert len(taken(other)) == 1


def test_launcher_that_asks_for_a_device_of_its_own_waits_for_one_that_shares(pool: MakePool) -> None:
    sharing, alone = pool(slots=[0], share=True), pool(slots=[0, "cpu"])
    (slot,) = taken(sharing)
    (cpu,) = taken(alone)
    assert cpu.name == "cpu"
    sharing.give_back(slot)
    alone.give_back(cpu)  # which has it look again at once
    assert len(taken(alone)) == 2


def test_sweep_inside_a_slot_may_use_its_devices(pool: MakePool) -> None:
    outer = pool(slots=[3])
    (slot,) = taken(outer)
    inner = pool(slot.environment())
    assert [each.devices for each in taken(inner)] == [(UUIDS[3],)]


def test_start_in_one_launcher_staggers_the_next_in_another(pool: MakePool) -> None:
    one, other = pool(slots=[0, 0], stagger_s=600), pool(slots=[0, 0], stagger_s=600)
    assert len(taken(one)) == 1
    assert other.take() is None
    assert "a job was started on it within 600 s" in str(other.waits_for)


def test_closed_pool_lets_devices_and_driver_go(pool: MakePool, reader: RecordedGpus) -> None:
    one = pool(slots=[0], min_free_mib=10)
    assert len(taken(one)) == 1
    assert not reader.is_closed
    one.close()
    assert reader.is_closed
    assert len(taken(pool(slots=[0]))) == 1


def test_memory_of_a_slot_is_that_of_its_devices(pool: MakePool, reader: RecordedGpus) -> None:
    reader.change(UUIDS[0], free_mib=reader.gpus()[0].total_mib)
    reader.change(UUIDS[1], free_mib=1000)
    reader.change(UUIDS[2], free_mib=None)
    total = reader.gpus()[0].total_mib
    assert total is not None
    some = pool(slots=["0", "0,1", "0,2"])
    assert some.memory() == {"0": (0, total), "0,1": (total - 1000, 2 * total)}  # what device 2 uses is not known
    some.close()
    assert some.memory() == {}


def test_driver_is_let_go_when_there_is_nothing_to_ask(pool: MakePool, reader: RecordedGpus) -> None:
    assert pool({"CUDA_VISIBLE_DEVICES": "-1"}).memory() == {}
    assert not reader.asked


@pytest.mark.parametrize("options", [{"slots": ["9"]}, {"min_free_mib": 10**6}])
def test_driver_is_let_go_when_a_setting_is_refused(pool: MakePool, reader: RecordedGpus, options: Any) -> None:
    with pytest.raises(SettingError, match=r"hydra\.launcher"):
        pool(**options)
    assert reader.is_closed


def test_job_whose_devices_are_partly_held_takes_none_of_them(tmp_path: Path) -> None:
    one, other = (HostLocks(dict.fromkeys("abc", 1), directory=tmp_path / "places") for _ in range(2))
    held = one.take(["b"])
    pool = SlotPool([Slot("a,b", ("a", "b"), 0), Slot("a", ("a",), 1)], locks=other)
    (slot,) = taken(pool)
    assert slot.name == "a"
    held.release()
    pool.close()
