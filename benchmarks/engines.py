"""The same jobs by `slots_slurm` and hydra-submitit-launcher on Slurm, by `slots_ray` and hydra-ray-launcher on Ray.

    python benchmarks/engines.py [--jobs 100] [--seconds 0.1] [--devices 4] [--only slurm|ray] [--json FILE]

`slots`, without an engine, runs in each round too: what it takes longer on a loaded machine is not the engine's doing.
Slurm is the one that `sinfo` finds; where there is none, one of this machine is started as the tests do (as root).
Times are those that the jobs note; a device is idle between the end of a job on it and the beginning of the next.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

from measuring import median

sys.path.append(str(Path(__file__).parent.parent / "tests" / "cluster"))
from slurm_node import SlurmNode, missing

PROGRAM = """
import json, os, time
from pathlib import Path
import hydra

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    begun = time.time()
    time.sleep(cfg.seconds)
    device = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    Path(cfg.notes, f"{cfg.n}.json").write_text(json.dumps([device, begun, time.time()]))

if __name__ == "__main__":
    main()
"""
SLURM = ["hydra.launcher.gpus_per_node=1", "hydra.launcher.cpus_per_task=1"]


def ways(engine: str, devices: int) -> dict[str, list[str]]:
    """Return the command lines that are compared on an engine, by name."""
    here = ["hydra/launcher=slots", f"hydra.launcher.slots=[{','.join(map(str, range(devices)))}]"]
    if engine == "slurm":
        slurm = [*SLURM, f"hydra.launcher.array_parallelism={devices}"]
        return {
            "slots": here,
            "slots_slurm": ["hydra/launcher=slots_slurm", *slurm],
            "hydra-submitit-launcher": [
                *("hydra/launcher=submitit_slurm", *slurm, "hydra.launcher.tasks_per_node=1"),
            ],
        }
    init = "+hydra.launcher.ray.init"
    ray = [f"{init}.num_gpus={devices}", f"{init}.num_cpus={devices}", "+hydra.launcher.ray.remote.num_gpus=1"]
    return {
        "slots": here,
        "slots_ray": ["hydra/launcher=slots_ray", *ray],
        "hydra-ray-launcher": ["hydra/launcher=ray", *ray],
    }


PACKAGES = {
    "hydra-submitit-launcher": "hydra_plugins.hydra_submitit_launcher",
    "hydra-ray-launcher": "hydra_plugins.hydra_ray_launcher",
}


def measure(options: list[str], jobs: int, seconds: float, environment: dict[str, str]) -> dict[str, float]:
    """Run the jobs once, and return what the jobs have noted."""
    with tempfile.TemporaryDirectory() as place:
        project = Path(place)
        (project / "train.py").write_text(PROGRAM)
        (project / "config.yaml").write_text(
            f"n: 0\nseconds: {seconds}\nnotes: {project}/notes\nhydra: {{sweep: {{dir: {project}/out}}}}\n"
        )
        (project / "notes").mkdir()
        values = ",".join(map(str, range(jobs)))
        begun = time.time()
        done = subprocess.run(
            [sys.executable, "train.py", "-m", f"n={values}", *options],
            cwd=project, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=3600,
        )  # fmt: skip
        wall = time.time() - begun
        notes = [json.loads(path.read_text()) for path in (project / "notes").iterdir()]
        if len(notes) != jobs:
            raise RuntimeError(f"{len(notes)} of {jobs} jobs ran: {done.stderr[-1500:]}")
        spans = defaultdict(list)
        for device, start, end in notes:
            spans[device].append((start, end))
        idle = [later[0] - earlier[1] for each in spans.values() for earlier, later in pairwise(sorted(each))]
        return {
            "jobs_per_s": jobs / wall,
            "first_s": min(start for _, start, _ in notes) - begun,
            "idle_ms": median(idle) * 1e3 if idle else float("nan"),
        }


def compare(engine: str, jobs: int, seconds: float, devices: int, rounds: int) -> dict[str, Any]:
    """Run all ways of one engine in turn, and return the medians."""
    with ExitStack() as stack:
        environment: dict[str, str] = {}
        if engine == "slurm" and subprocess.run(["sinfo"], capture_output=True, check=False).returncode:
            why = missing()
            if why is not None:
                print(f"slurm: {why}")
                return {}
            node = SlurmNode(Path(stack.enter_context(tempfile.TemporaryDirectory())), gpus=devices)
            node.start()
            stack.callback(node.stop)
            environment = node.environment
        found: dict[str, list[dict[str, float]]] = defaultdict(list)
        for _ in range(rounds):
            for name, options in ways(engine, devices).items():
                package = PACKAGES.get(name)
                if package is not None and importlib.util.find_spec(package) is None:
                    print(f"{name} is not installed")
                    continue
                found[name].append(measure(options, jobs, seconds, environment))
    rows = {name: {key: median([each[key] for each in runs]) for key in runs[0]} for name, runs in found.items()}
    for name, row in rows.items():
        print(f"{name:24}", "  ".join(f"{key} {value:,.2f}" for key, value in row.items()), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("slurm", "ray"))
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=0.1, help="that a job takes")
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    if shutil.which("sinfo") is None and chosen.only != "ray":
        print("slurm: there is no sinfo on this machine")
    engines = [each for each in ("slurm", "ray") if chosen.only in (None, each)]
    found = {engine: compare(engine, chosen.jobs, chosen.seconds, chosen.devices, chosen.rounds) for engine in engines}
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
