"""Slots: the devices of a job, and the environment that makes only these visible to it and has its ranks meet."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from trainctl.attempt.host import routed_address
from trainctl.errors import SettingError
from trainctl.launch.slots.devices import CUDA, HIP, OF_A_JOB, ZE, Visible
from trainctl.launch.slots.gpu import Gpu

log = logging.getLogger(__name__)

CPU = "cpu"
_DEVICE = re.compile(r"\d+([:.]\d+)?|(GPU|MIG)-[0-9A-Za-z/-]+")
_OF_INTEL = re.compile(r"\d+(\.\d+)?")
_NO_DEVICE = {CUDA: "", HIP: "-1"}  # HIP takes an empty list for no list
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Slot:
    """The devices that one job holds. An empty `devices` is a CPU slot.

    Attributes:
        name: shown to users: `0`, `2,3`, `GPU-1f3a…`, `cpu`.
        devices: unlike any other of this machine, in order; UUIDs where they are known.
        number: position in the list of slots, from 0.
        threads: the job's share of cores, as variables of thread pools.
        places: files that stand for the job's use of its devices, for its process to hold (`host_locks.keep`).
        shown: variables that show the job its devices and no others; empty where it sees whatever there is. None:
            `CUDA_VISIBLE_DEVICES` with the devices.
        nodes: machines that a job on it spreads over by itself, of which this is the first.
    """

    name: str
    devices: tuple[str, ...]
    number: int
    threads: Mapping[str, str] = field(default_factory=dict, hash=False)
    places: tuple[str, ...] = ()
    shown: Mapping[str, str] | None = field(default=None, hash=False)
    nodes: int = 1

    def environment(self) -> dict[str, str]:
        """Return what must be set before anything touches a GPU or starts threads."""
        shown = self.shown
        if shown is None:
            shown = {CUDA: ",".join(self.devices)} if self.devices else _NO_DEVICE
        order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if CUDA in shown else {}
        meeting = meeting_point(self.nodes) if self.nodes > 1 or len(self.devices) > 1 else {}
        return {**shown, **order, "TRAINCTL_SLOT": self.name, **self.threads, **meeting}


def make_slots(
    setting: str | int | Sequence[str],
    visible: Visible,
    cores: int,
    *,
    gpus_per_job: int | None = None,
    jobs_per_gpu: int | None = None,
) -> list[Slot]:
    """Return the slots for a setting.

    `auto` is one slot per GPU, or without GPUs one CPU slot per two cores, at least one. A count is that many slots,
    dealt over the GPUs in turn, or CPU slots. A list is taken as it stands: an entry may repeat (two jobs on one GPU),
    hold several devices (`"2,3"`), be a UUID or MIG id, or `cpu`. Where no library can be asked for the GPUs, the jobs
    of a list see the devices of that name of whatever maker, and jobs of `auto` and of a count whatever there is.

    Args:
        setting: checked `hydra.launcher.slots`.
        visible: the GPUs to choose from.
        cores: that may be used.
        gpus_per_job: with `auto`, so many neighbouring GPUs make one slot.
        jobs_per_gpu: with `auto`, there is each slot so many times.

    Raises:
        SettingError: an entry is not a device, or a device that is asked for is not there.

    >>> two = Visible((Gpu("0", "GPU-a", "A100"), Gpu("1", "GPU-b", "A100")))
    >>> [slot.name for slot in make_slots("auto", two, cores=4, jobs_per_gpu=2)]
    ['0', '1', '0', '1']
    """
    if setting == "auto":
        names = _derive(visible, cores, gpus_per_job, jobs_per_gpu)
    elif isinstance(setting, int):
        gpus = [gpu.index for gpu in visible.gpus] or [CPU]
        names = [gpus[number % len(gpus)] for number in range(setting)]
    else:
        assert not isinstance(setting, str)
        return _named_slots(setting, visible)
    slots = [_slot(name, number, visible) for number, name in enumerate(names)]
    if visible.unasked is None:
        return slots
    if visible.unasked.sign:
        log.warning(
            "GPUs cannot be counted here (%s; %s): each job sees all of them; "
            "name them, as in hydra.launcher.slots=[0,1], and each sees its own",
            visible.scope,
            visible.unasked.sign,
        )
    return [replace(slot, shown={}) for slot in slots]


def _named_slots(entries: Sequence[str], visible: Visible) -> list[Slot]:
    slots = [_slot(name, number, visible) for number, name in enumerate(entries)]
    if visible.unasked is not None and any(slot.devices for slot in slots):
        log.warning(
            "GPUs cannot be asked for here (%s): hydra.launcher.slots=[%s] is used as it is",
            visible.scope,
            ",".join(f"'{slot.name}'" if "," in slot.name else slot.name for slot in slots),
        )
    return slots


def asks_for_gpus(setting: str | int | Sequence[str]) -> bool:
    """Whether it matters which GPUs there are: not when every slot is `cpu`."""
    return isinstance(setting, (str, int)) or any(entry.strip() != CPU for entry in setting)


def check_entry(entry: str) -> str:
    """Return an entry of a list of slots if it has the form of one: devices or `cpu`.

    Raises:
        SettingError: names what is not a device.
    """
    if entry.strip() == CPU:
        return CPU
    names = [part.strip() for part in entry.split(",")]
    for name in names:
        if not _DEVICE.fullmatch(name):
            raise SettingError(
                f"hydra.launcher.slots has the entry {entry!r}, in which {name!r} is not a device; allowed are indices "
                "such as 0, several such as '2,3', UUIDs such as GPU-1f3a…, MIG ids such as MIG-41b3… or 0:1, Intel's "
                "tiles such as '0.1', and cpu"
            )
    return ",".join(names)


def _derive(visible: Visible, cores: int, gpus_per_job: int | None, jobs_per_gpu: int | None) -> list[str]:
    gpus = [gpu.index for gpu in visible.gpus]
    if not gpus:
        for name, value in (("gpus_per_job", gpus_per_job), ("jobs_per_gpu", jobs_per_gpu)):
            if value is not None:
                raise SettingError(f"hydra.launcher.{name}={value} needs GPUs, but none is visible: {visible.scope}")
        return [CPU] * max(1, cores // 2)
    size = gpus_per_job or 1
    if size > len(gpus):
        raise SettingError(
            f"hydra.launcher.gpus_per_job={size} is more than there are; visible GPUs: {', '.join(gpus)}"
            f"{f' ({visible.scope})' if visible.scope else ''}"
        )
    whole = len(gpus) - len(gpus) % size
    if whole < len(gpus):
        log.warning("hydra.launcher.gpus_per_job=%d leaves GPU %s without a job", size, ", ".join(gpus[whole:]))
    return [",".join(gpus[start : start + size]) for start in range(0, whole, size)] * (jobs_per_gpu or 1)


def _slot(text: str, number: int, visible: Visible) -> Slot:
    entry = check_entry(text)
    if entry == CPU:
        return Slot(CPU, (), number)
    names = entry.split(",")
    devices: list[Gpu] = []
    for name in names:
        try:
            devices.append((visible.unasked or visible).pick(name))
        except SettingError as error:
            raise SettingError(f"hydra.launcher.slots asks for device {name!r}, {error}") from None
    uuids = tuple(gpu.uuid for gpu in devices)
    if len(set(uuids)) != len(uuids):
        raise SettingError(f"hydra.launcher.slots has the entry {text!r}, which holds one device twice")
    return Slot(entry, uuids, number, shown=_shown(devices, visible))


def _shown(devices: Sequence[Gpu], visible: Visible) -> dict[str, str]:
    words = ",".join(gpu.entry or gpu.uuid for gpu in devices)
    if visible.unasked is None:
        return dict.fromkeys(visible.kind.variables, words)
    of_intel = all(_OF_INTEL.fullmatch(gpu.index) for gpu in devices)
    return {variable: words for variable in OF_A_JOB if variable != ZE or of_intel}


def meeting_point(nodes: int = 1) -> dict[str, str]:
    """Return where the ranks of a job meet, in PyTorch's variables and those of torchrun: a port that no other job has.

    Args:
        nodes: how many machines the ranks run on, of which this is the first.
    """
    address = _LOOPBACK if nodes == 1 else _own_address()
    port = str(_free_port())
    found = {"MASTER_ADDR": address, "MASTER_PORT": port}
    return found if nodes > 1 else found | {f"PET_{name}": value for name, value in found.items()}


def _own_address() -> str:
    """Return the name of this machine if it can be resolved, else its address."""
    name = socket.gethostname()
    with contextlib.suppress(OSError):
        socket.getaddrinfo(name, None)
        return name
    return routed_address() or _LOOPBACK


def _free_port() -> int:
    """Return a port that is free now; the system hands out others first, so two jobs do not get the same."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port
