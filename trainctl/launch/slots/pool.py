"""The slots of a launcher: which are free, whether a job may have one now, and how much GPU memory each uses."""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from trainctl.errors import SettingError
from trainctl.launch.settings import LauncherSettings
from trainctl.launch.slots.admission import Refusal, Room, RoomSettings
from trainctl.launch.slots.cores import thread_environment, usable_cores
from trainctl.launch.slots.devices import Visible, open_reader, visible_gpus
from trainctl.launch.slots.gpu import Gpu, GpuReader
from trainctl.launch.slots.host_locks import Held, HostLocks, Taken
from trainctl.launch.slots.slot import Slot, asks_for_gpus, make_slots


class MemoryMeter:
    """Adds up used and total MiB over the devices of each slot; a slot whose driver reports neither is left out."""

    def __init__(self, slots: Sequence[Slot], gpus: Mapping[str, Gpu], reader: GpuReader) -> None:
        self._slots = slots
        self._gpus = gpus
        self._reader = reader

    def read(self) -> dict[str, tuple[float, float]]:
        """Return used and total MiB by slot name; memory of any process counts."""
        used = {uuid: self._used_mib(uuid) for slot in self._slots for uuid in slot.devices}
        found = {}
        for slot in self._slots:
            pairs = [used[uuid] for uuid in slot.devices]
            known = [pair for pair in pairs if pair is not None]
            if known and len(known) == len(pairs):
                found[slot.name] = (sum(pair[0] for pair in known), sum(pair[1] for pair in known))
        return found

    def close(self) -> None:
        """Release the driver."""
        self._reader.close()

    def _used_mib(self, uuid: str) -> tuple[float, float] | None:
        total, free = self._gpus[uuid].total_mib, self._reader.look(uuid).free_mib
        return None if total is None or free is None else (total - free, total)


_INSIDE = "TRAINCTL_SLOT"


class SlotPool:
    """Hands out slots in the order in which they became free, each only when all of its devices may be used.

    Args:
        room: decides whether the devices have room now; None: they always do.
        locks: places on devices, shared by all launchers of this user; None: no places are taken.
        meter: measures the memory of the devices; None: it is not known.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        *,
        room: Room | None = None,
        locks: HostLocks | None = None,
        meter: MemoryMeter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slots = list(slots)
        self._room = room
        self._locks = locks
        self._meter = meter
        self._clock = clock
        self._free = deque(slots)
        self._held: dict[int, Held] = {}
        self._refused: dict[int, tuple[float, str]] = {}  # slot number to when to ask again, and why not now

    @property
    def free(self) -> int:
        """The number of slots without a job."""
        return len(self._free)

    @property
    def look_again_s(self) -> float | None:
        """Seconds after which `take` may succeed though nothing was given back; None when a returned slot is needed."""
        waits = [self._refused[slot.number][0] for slot in self._free if slot.number in self._refused]
        return max(0.0, min(waits) - self._clock()) if waits else None

    @property
    def waits_for(self) -> str | None:
        """Why a free slot was not handed out when it was last asked for; None if none was withheld."""
        reasons = {self._refused[slot.number][1]: None for slot in self._free if slot.number in self._refused}
        return "; ".join(reasons) or None

    def memory(self) -> dict[str, tuple[float, float]]:
        """Return used and total MiB by slot name, as far as known."""
        return {} if self._meter is None else self._meter.read()

    def take(self, pid: int | None = None) -> Slot | None:
        """Return a slot for one job; None if no job may have one now.

        Args:
            pid: the job's process, whose memory on a device is then known to be a job's.
        """
        for slot in list(self._free):
            if self._is_refused(slot):
                continue
            self._free.remove(slot)
            if slot.devices and self._room is not None:
                self._room.begin(slot, pid)
            held = self._held.get(slot.number)
            return slot if held is None else dataclasses.replace(slot, places=held.paths)
        return None

    def give_back(self, slot: Slot) -> None:
        """Return a slot to the pool once nothing of its job is left."""
        if slot.devices and self._room is not None:
            self._room.end(slot)
        if slot.number in self._held:
            self._held.pop(slot.number).release()
        self._refused.clear()
        self._free.append(self.slots[slot.number])

    def close(self) -> None:
        """Release devices and driver."""
        for held in self._held.values():
            held.release()
        self._held.clear()
        if self._room is not None:
            self._room.close()
            self._room = None
        if self._meter is not None:
            self._meter.close()
            self._meter = None

    def _is_refused(self, slot: Slot) -> bool:
        """Whether a slot may not be used now, asking again only when that may have changed."""
        if not slot.devices:
            return False
        if slot.number in self._refused and self._clock() < self._refused[slot.number][0]:
            return True
        refusal = self._ask_for(slot)
        if refusal is None:
            self._refused.pop(slot.number, None)
            return False
        self._refused[slot.number] = (self._clock() + refusal.again_s, refusal.reason)
        return True

    def _ask_for(self, slot: Slot) -> Refusal | None:
        refusal = None if self._room is None else self._room.refusal(slot)
        if refusal is None and self._locks is not None:
            try:
                self._held[slot.number] = self._locks.take(slot.devices)
            except Taken as taken:
                return Refusal(f"slot {slot.name} cannot be used: {taken}", taken.again_s)
        return refusal


def make_pool(
    settings: LauncherSettings,
    environment: Mapping[str, str] = os.environ,
    *,
    open_reader: Callable[[], GpuReader] = open_reader,
    directory: Path | None = None,
) -> SlotPool:
    """Return the pool that the launcher's settings ask for.

    Inside a slot (a job that starts a sweep itself) the devices are held already, by the launcher of that job.

    Raises:
        SettingError: a device that is asked for is not there, or its driver does not report what a setting asks for.
    """
    is_list = isinstance(settings.slots, list)
    visible = visible_gpus(environment, open_reader, is_list=is_list) if asks_for_gpus(settings.slots) else Visible()
    try:
        slots = _make_slots(settings, visible, environment)
        used = Counter(uuid for slot in slots for uuid in slot.devices)
        gpus = {gpu.uuid: gpu for gpu in visible.gpus if gpu.uuid in used}
        room = _make_room(settings, visible, gpus)
    except BaseException:
        _close(visible)
        raise
    meter = MemoryMeter(slots, gpus, visible.reader) if visible.reader is not None and gpus else None
    if meter is None:
        _close(visible)
    locks = None
    if used and _INSIDE not in environment:
        most = {uuid: 0 if settings.share else number for uuid, number in used.items()}
        locks = HostLocks(most, stagger_s=settings.stagger_s, directory=directory)
    return SlotPool(slots, room=room, locks=locks, meter=meter)


def _make_slots(settings: LauncherSettings, visible: Visible, environment: Mapping[str, str]) -> list[Slot]:
    cores = usable_cores()
    slots = make_slots(
        settings.slots, visible, cores, gpus_per_job=settings.gpus_per_job, jobs_per_gpu=settings.jobs_per_gpu
    )
    threads = thread_environment(len(slots), cores, environment)
    return [dataclasses.replace(slot, threads=threads) for slot in slots]


def _make_room(settings: LauncherSettings, visible: Visible, gpus: Mapping[str, Gpu]) -> Room | None:
    asked = RoomSettings(settings.min_free_mib, settings.max_foreign_util, settings.stagger_s)
    for name, value in (("min_free_mib", asked.min_free_mib), ("max_foreign_util", asked.max_foreign_util)):
        if value is not None and isinstance(settings.slots, list) and visible.unasked is not None:
            raise SettingError(
                f"hydra.launcher.{name}={value} cannot be enforced, since GPUs cannot be asked for here "
                f"({visible.scope}); remove the setting"
            )
    if visible.reader is None or not gpus or asked == RoomSettings():
        return None
    return Room(gpus, visible.reader, asked)


def _close(visible: Visible) -> None:
    if visible.reader is not None:
        visible.reader.close()
