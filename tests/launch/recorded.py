"""Eight recorded GPUs of one machine, in the driver's order, with memory in use and processes of others."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

from trainctl.launch.slots.gpu import NVIDIA, Gpu, GpuProcess, Look

RECORD: list[dict[str, Any]] = json.loads(Path(__file__).with_name("recorded_gpus.json").read_text())
IN_PCI_ORDER = sorted(RECORD, key=lambda entry: str(entry["bus_id"]))
UUIDS = [str(entry["uuid"]) for entry in IN_PCI_ORDER]
PARENT = UUIDS[0]
MIGS = [
    Gpu("0:0", "MIG-41b36d05-0001-5b5e-9d4f-111111111111", "A100 MIG 3g.40gb", 40192, PARENT, f"MIG-{PARENT}/1/0"),
    Gpu("0:1", "MIG-41b36d05-0002-5b5e-9d4f-222222222222", "A100 MIG 3g.40gb", 40192, PARENT, f"MIG-{PARENT}/2/0"),
]


class RecordedGpus:
    """A `GpuReader` over the record, in which tests change what happens; it counts what it is asked."""

    kind = NVIDIA

    def __init__(self, *, split: bool = False) -> None:
        self.split = split
        self.asked: Counter[str] = Counter()
        self.is_closed = False
        self.looks = {
            str(entry["uuid"]): Look(
                entry["free_mib"],
                entry["utilisation"],
                tuple(GpuProcess(**process) for process in entry["processes"]),
            )
            for entry in RECORD
        }
        self.looks |= {gpu.uuid: Look(gpu.total_mib, None, ()) for gpu in MIGS}

    def gpus(self) -> list[Gpu]:
        whole = [
            Gpu(str(index), str(entry["uuid"]), str(entry["name"]), int(entry["total_mib"]))
            for index, entry in enumerate(IN_PCI_ORDER)
        ]
        return [*MIGS, *whole[1:]] if self.split else whole

    def look(self, uuid: str) -> Look:
        self.asked[uuid] += 1
        return self.looks[uuid]

    def close(self) -> None:
        self.is_closed = True

    def change(self, uuid: str, **values: Any) -> None:
        self.looks[uuid] = dataclasses.replace(self.looks[uuid], **values)


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
