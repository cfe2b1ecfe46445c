"""The GPUs of this machine, and the interface to query them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

_LEAST_PREFIX = len("GPU-") + 1


class NoDriver(Exception):
    """No library here can query GPUs; the text says why."""


class SilentDriver(NoDriver):
    """There is a driver, but its library gets no answer from it."""


@dataclass(frozen=True, slots=True)
class GpuKind:
    """The vendor of a reader's GPUs.

    Attributes:
        maker: for messages.
        tool: the maker's program that numbers devices as `Gpu.index` does.
        variables: which devices a process sees; set for a job to the devices of its slot.
    """

    maker: str
    tool: str
    variables: tuple[str, ...]


NVIDIA = GpuKind("NVIDIA", "nvidia-smi", ("CUDA_VISIBLE_DEVICES",))
AMD = GpuKind("AMD", "amd-smi", ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"))  # HIP reads both, the first one first


@dataclass(frozen=True, slots=True)
class Gpu:
    """A device that can be made visible to a process: a GPU, or a MIG device of one.

    Attributes:
        index: position as in nvidia-smi or amd-smi: `0`; of a MIG device `0:1`.
        uuid: `GPU-…` or `MIG-…`; unique on this machine.
        name: the product.
        total_mib: None where the driver does not report it.
        parent: UUID of the GPU that a MIG device is a part of.
        old_id: what drivers before R470 called a MIG device: `MIG-GPU-…/1/0`.
        entry: what the kind's variables are set to, where that is not the UUID.
    """

    index: str
    uuid: str
    name: str
    total_mib: int | None = None
    parent: str | None = None
    old_id: str | None = None
    entry: str | None = None

    def is_called(self, name: str) -> bool:
        """Whether a name means this device: its index, its UUID or the beginning of its UUID.

        >>> [Gpu("0", "GPU-1f3a", "A100").is_called(name) for name in ("0", "GPU-1f", "GPU-", "1")]
        [True, True, False, False]
        """
        return name in (self.index, self.old_id) or (len(name) >= _LEAST_PREFIX and self.uuid.startswith(name))

    def is_part_of(self, name: str) -> bool:
        """Whether this is a MIG device of the GPU of that name."""
        if self.parent is None:
            return False
        return name == self.index.partition(":")[0] or (len(name) >= _LEAST_PREFIX and self.parent.startswith(name))


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that has memory on a device.

    Attributes:
        mib: None where the driver does not report it.
        utilisation: percent of the last moments; None where the driver does not report it.
    """

    pid: int
    mib: int | None = None
    utilisation: int | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """The present state of a device; None for what its driver does not report.

    Attributes:
        utilisation: percent of the last moments in which something ran.
        processes: those that can be seen; none of another container, for example.
    """

    free_mib: int | None = None
    utilisation: int | None = None
    processes: tuple[GpuProcess, ...] = ()


class GpuReader(Protocol):
    """Queries this machine's GPUs of one vendor."""

    @property
    def kind(self) -> GpuKind: ...

    def gpus(self) -> list[Gpu]:
        """Return the devices in the order of their indices; a split GPU is represented by its MIG devices."""
        ...

    def look(self, uuid: str) -> Look:
        """Return the present state of a device; all fields of a lost device are None."""
        ...

    def close(self) -> None:
        """Release the driver."""
        ...
