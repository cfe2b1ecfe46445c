"""The least that jobs in processes of their own can cost: `os.fork` for each, in a loop per slot, and nothing else."""

from __future__ import annotations

import os
import sys
import time

if os.environ.get("BENCH_TORCH"):
    import torch  # noqa: F401  # once, for all


def stamp(word: str) -> None:
    """Append one line in one write, as `app.py` does."""
    descriptor = os.open(os.environ["BENCH_STAMPS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{word} {time.clock_gettime_ns(time.CLOCK_MONOTONIC)}\n".encode())
    os.close(descriptor)


def main() -> None:
    """Run all jobs, each once, so many at a time: seconds of one for all, or of each, with commas."""
    jobs, slots, given = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(",")
    going = 0
    for job in range(jobs):
        if going == slots:
            os.wait()
            going -= 1
        if os.fork() == 0:
            stamp("begin")
            time.sleep(float(given[job % len(given)]))
            stamp("end")
            os._exit(0)
        going += 1
    for _ in range(going):
        os.wait()


if __name__ == "__main__":
    main()
