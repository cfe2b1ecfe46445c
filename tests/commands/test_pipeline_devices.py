"""Commands on the GPUs of a recorded driver: every part of each sees the devices of its job, and no others."""

from __future__ import annotations

import os

from gpu_driver import DRIVER, UUIDS
from pipelines import Pipeline


class OnGpus(Pipeline):
    @property
    def environment(self) -> dict[str, str]:
        known = super().environment
        return {**known, "PYTHONPATH": os.pathsep.join([str(self.path / "driver"), known["PYTHONPATH"]])}


def test_cuda_visible_devices_reaches_every_part_of_a_command(pipeline: Pipeline) -> None:
    gpus = OnGpus(pipeline.path)
    (gpus.path / "driver").mkdir()
    (gpus.path / "driver" / "pynvml.py").write_text(DRIVER)
    # each job stays until both have begun, so that they cannot share a device
    wait = "touch begun${x}; while [ ! -e begun1 ] || [ ! -e begun2 ]; do sleep 0.02; done"
    gpus.write(
        {"train": f"{wait}; cd / && echo $CUDA_VISIBLE_DEVICES | cat; (echo $CUDA_VISIBLE_DEVICES) & wait",
         "test": "sh -c 'echo $CUDA_VISIBLE_DEVICES'"}, x=1,
    )  # fmt: skip
    done = gpus.run("-m", "x=1,2", slots="[0,1]")
    assert done.returncode == 0, done.stderr
    seen = []
    for name in ("X_1", "X_2"):
        (device,) = set((gpus.run_dir(name) / "train.log").read_text().splitlines())
        assert (gpus.run_dir(name) / "train.log").read_text() == f"{device}\n" * 2
        assert (gpus.run_dir(name) / "test.log").read_text() == f"{device}\n"
        seen.append(device)
    assert sorted(seen) == UUIDS
