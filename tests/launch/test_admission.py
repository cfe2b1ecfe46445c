"""A GPU is used only while it has room: memory, others' use of it, time since the last start."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from recorded import MIGS, UUIDS, Clock, RecordedGpus

from trainctl.errors import SettingError
from trainctl.launch.slots.admission import LOOK_AGAIN_S, Room, RoomSettings, is_within
from trainctl.launch.slots.gpu import GpuProcess, Look
from trainctl.launch.slots.slot import Slot

OURS = os.getpid()  # stands for a job's process
STRANGER = 1 << 30  # no process of this machine has this number
MIB = 40960


@pytest.fixture
def reader() -> RecordedGpus:
    return RecordedGpus()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def room(reader: RecordedGpus, clock: Clock) -> Iterator[Callable[..., Room]]:
    def make(*used: int, **settings: Any) -> Room:
        gpus = {gpu.uuid: gpu for gpu in reader.gpus() if gpu.uuid in {UUIDS[index] for index in used or range(8)}}
        return Room(gpus, reader, RoomSettings(**settings), clock=clock)

    return make


def slot(*indices: int, number: int = 0) -> Slot:
    return Slot(",".join(map(str, indices)), tuple(UUIDS[index] for index in indices), number)


def why(room: Room, where: Slot) -> str:
    refusal = room.refusal(where)
    return "" if refusal is None else refusal.reason


def test_gpu_without_enough_free_memory_is_refused(room: Callable[..., Room]) -> None:
    room_ = room(min_free_mib=20000)
    assert room_.refusal(slot(0)) is None
    assert why(room_, slot(1)) == "GPU 1 has less than 20000 MiB free (hydra.launcher.min_free_mib)"


def test_every_gpu_of_a_slot_must_have_room(room: Callable[..., Room]) -> None:
    room_ = room(min_free_mib=20000)
    assert why(room_, slot(0, 1)).startswith("GPU 1 has less than")
    assert room_.refusal(slot(0, 2)) is None


def test_look_is_repeated_no_more_than_once_a_second(
    room: Callable[..., Room], reader: RecordedGpus, clock: Clock
) -> None:
    room_ = room(1, min_free_mib=20000)
    reader.asked.clear()
    for _ in range(1000):
        clock.now += 0.01
        assert room_.refusal(slot(1)) is not None
    assert reader.asked[UUIDS[1]] <= 10 / LOOK_AGAIN_S + 1
    reader.change(UUIDS[1], free_mib=30000)
    clock.now += LOOK_AGAIN_S
    assert room_.refusal(slot(1)) is None


def test_memory_of_a_new_job_is_reserved_until_it_shows_up(
    room: Callable[..., Room], reader: RecordedGpus, clock: Clock
) -> None:
    reader.change(UUIDS[0], free_mib=70000)
    room_ = room(0, min_free_mib=MIB)
    room_.begin(slot(0, number=0), OURS)
    assert why(room_, slot(0, number=1)).startswith("GPU 0 has less than 40960 MiB free")
    reader.change(UUIDS[0], free_mib=65000, processes=(GpuProcess(OURS, 5000),))  # it has begun to take its memory
    clock.now += LOOK_AGAIN_S
    assert room_.refusal(slot(0, number=1)) is not None
    reader.change(UUIDS[0], free_mib=45000, processes=(GpuProcess(OURS, 45000),))  # it is all there, others have left
    clock.now += LOOK_AGAIN_S
    assert room_.refusal(slot(0, number=1)) is None


@pytest.mark.parametrize(("stagger_s", "window_s"), [(0.0, 30.0), (5.0, 5.0)])
def test_reservation_ends_though_nothing_shows_up(
    room: Callable[..., Room], reader: RecordedGpus, clock: Clock, stagger_s: float, window_s: float
) -> None:
    reader.change(UUIDS[0], free_mib=70000)
    room_ = room(0, min_free_mib=MIB, stagger_s=stagger_s)
    room_.begin(slot(0, number=0), None)  # a job whose process is not known, or is of another container
    clock.now += window_s - 0.1
    assert room_.refusal(slot(0, number=1)) is not None
    clock.now += 0.2
    assert room_.refusal(slot(0, number=1)) is None


def test_reservation_ends_with_the_job(room: Callable[..., Room], reader: RecordedGpus) -> None:
    reader.change(UUIDS[0], free_mib=70000)
    room_ = room(0, min_free_mib=MIB)
    room_.begin(slot(0, number=0), OURS)
    assert room_.refusal(slot(0, number=1)) is not None
    room_.end(slot(0, number=0))
    assert room_.refusal(slot(0, number=1)) is None


def test_memory_that_a_job_gave_back_is_seen_at_once(room: Callable[..., Room], reader: RecordedGpus) -> None:
    reader.change(UUIDS[0], free_mib=100)
    room_ = room(0, min_free_mib=MIB)
    room_.begin(slot(0), OURS)
    assert room_.refusal(slot(0)) is not None
    reader.change(UUIDS[0], free_mib=80000)
    room_.end(slot(0))
    assert room_.refusal(slot(0)) is None


def test_process_of_unknown_size_counts_as_shown_up(room: Callable[..., Room], reader: RecordedGpus) -> None:
    reader.change(UUIDS[0], free_mib=70000, processes=(GpuProcess(OURS, None),))
    room_ = room(0, min_free_mib=MIB)
    room_.begin(slot(0, number=0), OURS)
    assert room_.refusal(slot(0, number=1)) is None


def test_starts_on_one_gpu_are_staggered(room: Callable[..., Room], clock: Clock) -> None:
    room_ = room(stagger_s=10.0)
    assert room_.refusal(slot(0)) is None
    room_.begin(slot(0, 1), None)
    refusal = room_.refusal(slot(1, number=1))
    assert refusal is not None
    assert refusal.again_s == pytest.approx(10)
    assert refusal.reason == "a job was started on GPU 1 within 10 s (hydra.launcher.stagger_s)"
    assert room_.refusal(slot(2, number=1)) is None
    clock.now += 10
    assert room_.refusal(slot(1, number=1)) is None


def test_stagger_outlasts_a_short_job(room: Callable[..., Room]) -> None:
    room_ = room(stagger_s=10.0)
    room_.begin(slot(0), None)
    room_.end(slot(0))
    assert room_.refusal(slot(0)) is not None


def test_gpu_that_others_use_is_refused(room: Callable[..., Room]) -> None:
    room_ = room(max_foreign_util=10)
    assert why(room_, slot(1)) == "others use GPU 1 at more than 10 % (hydra.launcher.max_foreign_util)"
    assert room_.refusal(slot(2)) is None  # 4 %
    assert room_.refusal(slot(5)) is not None  # 35 %, by a process that tells nothing of itself


def test_our_own_use_is_not_foreign(room: Callable[..., Room], reader: RecordedGpus, clock: Clock) -> None:
    room_ = room(0, max_foreign_util=10)
    room_.begin(slot(0, number=0), OURS)
    for processes, is_refused in (
        ((GpuProcess(OURS, 4000, 90),), False),
        ((GpuProcess(OURS, 4000, None),), False),
        ((GpuProcess(OURS, 4000, 60), GpuProcess(STRANGER, 900, 30)), True),
        ((GpuProcess(OURS, 4000, 85), GpuProcess(STRANGER, 900, 5)), False),
        ((GpuProcess(OURS, 4000, None), GpuProcess(STRANGER, 900, None)), True),
    ):
        reader.change(UUIDS[0], utilisation=90, processes=processes)
        clock.now += LOOK_AGAIN_S
        assert (room_.refusal(slot(0, number=1)) is not None) == is_refused


def test_use_by_a_job_that_has_just_ended_is_not_foreign(
    room: Callable[..., Room], reader: RecordedGpus, clock: Clock
) -> None:
    reader.change(UUIDS[0], utilisation=90)
    room_ = room(0, max_foreign_util=10)
    room_.begin(slot(0), OURS)
    room_.end(slot(0))
    assert room_.refusal(slot(0)) is None
    clock.now += 10
    assert room_.refusal(slot(0)) is not None


def test_gpu_that_is_lost_while_waiting_is_refused(
    room: Callable[..., Room], reader: RecordedGpus, clock: Clock
) -> None:
    rooms = [room(0, min_free_mib=100), room(0, max_foreign_util=50)]
    reader.looks[UUIDS[0]] = Look()
    clock.now += LOOK_AGAIN_S
    assert [why(each, slot(0)) for each in rooms] == ["GPU 0 no longer answers"] * 2


def test_gpu_that_is_too_small_is_refused_up_front(room: Callable[..., Room]) -> None:
    with pytest.raises(
        SettingError, match=r"min_free_mib=50000 is more than GPU 6 \(NVIDIA A100-SXM4-40GB\) has: 40960 MiB"
    ):
        room(min_free_mib=50000)


def test_condition_that_a_device_cannot_tell_of_is_refused_up_front(clock: Clock) -> None:
    reader = RecordedGpus(split=True)
    refused = r"max_foreign_util=10 cannot be enforced on GPU 0:0 .*: its driver does not report utilisation"
    with pytest.raises(SettingError, match=refused):
        Room({MIGS[0].uuid: MIGS[0]}, reader, RoomSettings(max_foreign_util=10), clock=clock)
    Room({MIGS[0].uuid: MIGS[0]}, reader, RoomSettings(min_free_mib=1000), clock=clock)


def test_descendants_of_a_job_are_the_job() -> None:
    parents = psutil.Process().parents()
    assert is_within(OURS, OURS)
    assert is_within(OURS, parents[0].pid)
    assert not is_within(parents[0].pid, OURS)
    assert not is_within(STRANGER, OURS)
    assert not is_within(OURS, None)
