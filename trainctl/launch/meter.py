"""How much memory of its GPUs each slot uses, for a person to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainctl.launch.gpus import Gpu, GpuReader
from trainctl.launch.slots import Slot


class MemoryMeter:
    """Adds up used and total MiB over the devices of each slot; a slot with a device that does not tell is left out."""

    def __init__(self, slots: Sequence[Slot], gpus: Mapping[str, Gpu], reader: GpuReader) -> None:
        self._slots = slots
        self._gpus = gpus
        self._reader = reader

    def read(self) -> dict[str, tuple[float, float]]:
        """Return used and total MiB by slot name, of whoever uses them."""
        used = {uuid: self._used_mib(uuid) for slot in self._slots for uuid in slot.devices}
        found = {}
        for slot in self._slots:
            pairs = [used[uuid] for uuid in slot.devices]
            known = [pair for pair in pairs if pair is not None]
            if known and len(known) == len(pairs):
                found[slot.name] = (sum(pair[0] for pair in known), sum(pair[1] for pair in known))
        return found

    def close(self) -> None:
        """Let the driver go."""
        self._reader.close()

    def _used_mib(self, uuid: str) -> tuple[float, float] | None:
        total, free = self._gpus[uuid].total_mib, self._reader.look(uuid).free_mib
        return None if total is None or free is None else (total - free, total)
