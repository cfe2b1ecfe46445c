"""What a job runs on: devices, and the environment that shows a job only these."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trainctl.errors import SettingError

_CPU = "cpu"
_INDEX = re.compile(r"\d+")
_UUID = re.compile(r"(GPU|MIG)-[0-9A-Za-z/-]+")


@dataclass(frozen=True, slots=True)
class Slot:
    """The devices that one job holds. An empty `devices` is a CPU slot.

    Attributes:
        name: what a person reads: `0`, `2,3`, `GPU-1f3a…`, `cpu`.
        devices: entries for `CUDA_VISIBLE_DEVICES`, in order.
        number: position in the list of slots, from 0.
    """

    name: str
    devices: tuple[str, ...]
    number: int

    def environment(self) -> dict[str, str]:
        """Return what must be set before anything touches CUDA."""
        return {
            "CUDA_VISIBLE_DEVICES": ",".join(self.devices),
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "TRAINCTL_SLOT": self.name,
        }


def make_slots(setting: str | int | Sequence[str], gpus: Mapping[str, str], cores: int) -> list[Slot]:
    """Return the slots that a setting asks for.

    `auto` is one slot per GPU, or without GPUs one CPU slot per two cores, at least one. A count is that many slots, dealt
    over the GPUs in turn, or CPU slots. A list is taken as it stands: an entry may repeat (two jobs on one GPU), hold
    several devices (`"2,3"`), be a UUID, or `cpu`.

    Args:
        setting: checked `hydra.launcher.slots`.
        gpus: what may be used, by the index or UUID a person would write, to the UUID to export. Empty: no GPU.
        cores: usable processor cores.

    Raises:
        SettingError: an entry is not a device, or names one that is not there.

    >>> [slot.name for slot in make_slots("auto", {}, cores=4)]
    ['cpu', 'cpu']
    >>> make_slots(["0,1", "0"], {"0": "GPU-a", "1": "GPU-b"}, cores=4)[0].devices
    ('GPU-a', 'GPU-b')
    """
    if setting == "auto":
        names = list(gpus) or [_CPU] * max(1, cores // 2)
    elif isinstance(setting, int):
        names = [list(gpus)[number % len(gpus)] for number in range(setting)] if gpus else [_CPU] * setting
    else:
        assert not isinstance(setting, str)
        names = list(setting)
    return [_slot(name, number, gpus) for number, name in enumerate(names)]


def _slot(text: str, number: int, gpus: Mapping[str, str]) -> Slot:
    if text.strip() == _CPU:
        return Slot(_CPU, (), number)
    names = [part.strip() for part in text.split(",")]
    by_uuid = {uuid: uuid for uuid in gpus.values()}
    known = {**by_uuid, **gpus}
    for name in names:
        if not (_INDEX.fullmatch(name) or _UUID.fullmatch(name)):
            raise SettingError(
                f"hydra.launcher.slots has the entry {text!r}, in which {name!r} is not a device; "
                "allowed are indices such as 0, several such as '2,3', UUIDs such as GPU-1f3a…, and cpu"
            )
        if name not in known:
            there = ", ".join(gpus) or "none"
            raise SettingError(
                f"hydra.launcher.slots asks for device {name!r}, which is not visible here; visible GPUs: {there}"
            )
    if len({known[name] for name in names}) != len(names):
        raise SettingError(f"hydra.launcher.slots has the entry {text!r}, which holds one device twice")
    return Slot(",".join(names), tuple(known[name] for name in names), number)
