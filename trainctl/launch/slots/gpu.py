"""What is known of the GPUs of this machine, and the one way to ask for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

_LEAST_PREFIX = len("GPU-") + 1


class NoDriver(Exception):
    """This machine has no NVIDIA driver; the text says how that shows."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A device that CUDA can be shown: a GPU, or a MIG device of one.

    Attributes:
        index: position in PCI bus order, as in nvidia-smi: `0`; of a MIG device `0:1`.
        uuid: `GPU-…` or `MIG-…`, the entry for `CUDA_VISIBLE_DEVICES`.
        name: the product.
        total_mib: None where the driver does not report it.
        parent: UUID of the GPU that a MIG device is a part of.
        old_id: what drivers before R470 called a MIG device: `MIG-GPU-…/1/0`.
    """

    index: str
    uuid: str
    name: str
    total_mib: int | None = None
    parent: str | None = None
    old_id: str | None = None

    def is_called(self, name: str) -> bool:
        """Whether a person may mean this device by a name: its index, its UUID or the beginning of that.

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
    """What a device does now. None: the driver does not report it.

    Attributes:
        utilisation: percent of the last moments in which something ran.
        processes: those that can be seen; none of another container, for example.
    """

    free_mib: int | None = None
    utilisation: int | None = None
    processes: tuple[GpuProcess, ...] = ()


class GpuReader(Protocol):
    """Tells of this machine's GPUs."""

    def gpus(self) -> list[Gpu]:
        """Return what CUDA can be shown, in PCI bus order; a GPU that is split into MIG devices only as these."""
        ...

    def look(self, uuid: str) -> Look:
        """Return what a device does now; what its driver does not report, or a device that is lost, is None."""
        ...

    def close(self) -> None:
        """Let the driver go."""
        ...
