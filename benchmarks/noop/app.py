"""The job that `benchmarks/launch.py` runs: it writes down when it began and when it ended, and does nothing else."""

from __future__ import annotations

import os
import time

import hydra
from omegaconf import DictConfig

if os.environ.get("BENCH_TORCH"):
    import torch  # noqa: F401  # what a trainer's script imports, and what each fresh interpreter pays for


def stamp(word: str) -> None:
    """Append one line in one write; CLOCK_MONOTONIC is the same for all processes of a machine."""
    descriptor = os.open(os.environ["BENCH_STAMPS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{word} {time.clock_gettime_ns(time.CLOCK_MONOTONIC)}\n".encode())
    os.close(descriptor)


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    """Take `cfg.seconds`, without using the processor."""
    stamp("begin")
    if cfg.seconds:
        time.sleep(cfg.seconds)
    stamp("end")


if __name__ == "__main__":
    main()
