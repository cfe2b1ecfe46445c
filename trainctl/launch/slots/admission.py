"""The decision whether a GPU has room for one more job now."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psutil

from trainctl.errors import SettingError
from trainctl.launch.slots.gpu import Gpu, GpuReader, Look
from trainctl.launch.slots.slot import Slot

LOOK_AGAIN_S = 1.0  # at most one look at a device in this time, and one more for each job that ends there
_SHOW_UP_S = 30.0  # how long a new job's memory stays reserved without a `stagger_s`
_LATELY_S = 2.0  # a driver's utilisation is of the last moments, so a job that has just ended may still be in it


@dataclass(frozen=True, slots=True)
class RoomSettings:
    """The launcher's settings of the same names; None for no limit."""

    min_free_mib: int | None = None
    max_foreign_util: float | None = None
    stagger_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a slot may not be used now, and after how many seconds it may be."""

    reason: str
    again_s: float


@dataclass(frozen=True, slots=True)
class _Start:
    devices: tuple[str, ...]
    pid: int | None
    at: float


class Room:
    """Decides whether all GPUs of a slot have room, and remembers what was started where.

    Free memory is unused memory minus what jobs that have just started will use: each counts as `min_free_mib`, minus
    what it uses already, for `stagger_s` (30 s if that is not set).

    Raises:
        SettingError: a GPU is too small for `min_free_mib`, or its driver does not report what a setting asks for.
    """

    def __init__(
        self,
        gpus: Mapping[str, Gpu],
        reader: GpuReader,
        settings: RoomSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gpus = gpus
        self._reader = reader
        self._settings = settings
        self._clock = clock
        self._running: dict[int, _Start] = {}
        self._last_start: dict[str, float] = {}
        self._last_end: dict[str, float] = {}
        self._looks: dict[str, tuple[float, Look]] = {}
        for uuid in gpus:
            self._check(uuid)

    def refusal(self, slot: Slot) -> Refusal | None:
        """Return why the slot may not be used now; None when it may be."""
        for uuid in slot.devices:
            refusal = self._too_soon(uuid) or self._too_full(uuid) or self._too_busy(uuid)
            if refusal is not None:
                return refusal
        return None

    def begin(self, slot: Slot, pid: int | None) -> None:
        """Note that a job starts on the slot; `pid` is its process if that is known."""
        start = _Start(slot.devices, pid, self._clock())
        self._running[slot.number] = start
        self._last_start |= dict.fromkeys(slot.devices, start.at)

    def end(self, slot: Slot) -> None:
        """Note that nothing is left of the slot's job."""
        self._running.pop(slot.number, None)
        for uuid in slot.devices:
            self._last_end[uuid] = self._clock()
            self._looks.pop(uuid, None)

    def close(self) -> None:
        self._reader.close()

    def _check(self, uuid: str) -> None:
        need, limit = self._settings.min_free_mib, self._settings.max_foreign_util
        gpu = self._gpus[uuid]
        if need is not None and gpu.total_mib is not None and need > gpu.total_mib:
            raise SettingError(
                f"hydra.launcher.min_free_mib={need} is more than GPU {gpu.index} ({gpu.name}) has: {gpu.total_mib} MiB"
            )
        for name, value, what, reported in (
            ("min_free_mib", need, "free memory", need is None or self._look(uuid).free_mib),
            ("max_foreign_util", limit, "utilisation", limit is None or self._look(uuid).utilisation),
        ):
            if reported is None:
                raise SettingError(
                    f"hydra.launcher.{name}={value} cannot be enforced on GPU {gpu.index} ({gpu.name}): its driver "
                    f"does not report {what}; remove the setting or leave this GPU out of hydra.launcher.slots"
                )

    def _too_soon(self, uuid: str) -> Refusal | None:
        stagger_s = self._settings.stagger_s
        since = self._clock() - self._last_start.get(uuid, float("-inf"))
        if since < stagger_s:
            reason = f"a job was started on GPU {self._gpus[uuid].index} within {stagger_s:g} s"
            return Refusal(f"{reason} (hydra.launcher.stagger_s)", stagger_s - since)
        return None

    def _too_full(self, uuid: str) -> Refusal | None:
        need = self._settings.min_free_mib
        if need is None:
            return None
        look = self._look(uuid)
        if look.free_mib is None:
            return self._lost(uuid)
        if look.free_mib - self._reserved(uuid, look) >= need:
            return None
        return Refusal(
            f"GPU {self._gpus[uuid].index} has less than {need} MiB free (hydra.launcher.min_free_mib)", LOOK_AGAIN_S
        )

    def _too_busy(self, uuid: str) -> Refusal | None:
        limit = self._settings.max_foreign_util
        if limit is None:
            return None
        foreign = self._foreign_utilisation(uuid, self._look(uuid))
        if foreign is None:
            return self._lost(uuid)
        if foreign <= limit:
            return None
        reason = f"others use GPU {self._gpus[uuid].index} at more than {limit:g} % (hydra.launcher.max_foreign_util)"
        return Refusal(reason, LOOK_AGAIN_S)

    def _lost(self, uuid: str) -> Refusal:
        return Refusal(f"GPU {self._gpus[uuid].index} no longer answers", LOOK_AGAIN_S)

    def _reserved(self, uuid: str, look: Look) -> int:
        need, window_s = self._settings.min_free_mib or 0, self._settings.stagger_s or _SHOW_UP_S
        new = [
            start for start in self._running.values() if uuid in start.devices and self._clock() - start.at < window_s
        ]
        return sum(max(0, need - _shown_mib(start, look, need)) for start in new)

    def _foreign_utilisation(self, uuid: str, look: Look) -> int | None:
        """Return the utilisation by other users: all of it, unless a job of this launcher ran there just now."""
        own = [start.pid for start in self._running.values() if uuid in start.devices]
        if not own and self._clock() - self._last_end.get(uuid, float("-inf")) > _LATELY_S:
            return look.utilisation
        foreign = [each for each in look.processes if not any(is_within(each.pid, pid) for pid in own)]
        told = [each.utilisation for each in foreign if each.utilisation is not None]
        return sum(told) if len(told) == len(foreign) else look.utilisation

    def _look(self, uuid: str) -> Look:
        at, look = self._looks.get(uuid, (float("-inf"), Look()))
        if self._clock() - at >= LOOK_AGAIN_S:
            at, look = self._clock(), self._reader.look(uuid)
            self._looks[uuid] = (at, look)
        return look


def _shown_mib(start: _Start, look: Look, need: int) -> int:
    """Return how much of its memory a job has taken already; one of unknown size counts as all of it."""
    return sum(need if each.mib is None else each.mib for each in look.processes if is_within(each.pid, start.pid))


def is_within(pid: int, root: int | None) -> bool:
    """Whether a process is `root` or one of its descendants."""
    try:
        while root is not None and pid > 0:
            if pid == root:
                return True
            pid = psutil.Process(pid).ppid()
    except psutil.Error:
        pass  # it has ended, or is not of this container
    return False
