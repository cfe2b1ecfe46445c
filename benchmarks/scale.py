"""What a sweep costs from 1 to 1,000 GPUs: the launcher's loop by a virtual clock, files and readers measured here.

    python benchmarks/scale.py [--only loop|files|readers|shared] [--runs 10000] [--json FILE]

See docs/scale.md for what came out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measuring import median
from virtual_cluster import VirtualCluster

SIZES = ((100, 10), (1_000, 100), (10_000, 1_000))  # jobs, GPUs
FLAT, NEAR = 1.3, 1.02  # goals: the dearest job to the cheapest, the makespan to that of greedy scheduling
PROGRAM = """
import hydra, trainctl

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    live = trainctl.live(cfg)
    for step in range(20):
        live.step()
        live.log(loss=cfg.lr / (step + 1))
    return cfg.lr

if __name__ == "__main__":
    main()
"""
CONFIG = "defaults: [trainctl, _self_]\nlr: 0.1\ntrainctl: {panel: {enabled: false}}\nhydra: {sweep: {dir: out}}\n"
OPEN_S = 20.0  # for which the page's table stays open after it has all rows
PAGE = """
import sys, time
from pathlib import Path
from trainctl.panel.data.run_index import RunIndex
from trainctl.panel.data.watcher import Watcher

root, runs, open_s = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
watcher = Watcher(root)
index = RunIndex(watcher.examined)
begun = time.perf_counter()
watcher.start()
with watcher.watching_rows():
    while len(index) < runs:
        time.sleep(0.05)
        index.follow(watcher.rows())
    print("page, all rows read", time.perf_counter() - begun, flush=True)
    begun = time.process_time()
    end = time.perf_counter() + open_s
    while time.perf_counter() < end:
        time.sleep(1)
        index.follow(watcher.rows())
    print(f"page, open for {open_s:.0f} s (processor)", time.process_time() - begun, flush=True)
watcher.close()
"""
CALLS = (
    "openat,open,creat,stat,lstat,newfstatat,statx,access,faccessat,faccessat2,unlink,unlinkat,rename,renameat,renameat2,"
    "mkdir,mkdirat,getdents64,fsync,fdatasync,flock,link,symlink,chmod,fchmod,utimensat,readlink,ftruncate"
)


def loop(jobs_of_each: int = 30_000) -> list[dict[str, Any]]:
    """Run sweeps of each size by the launcher's own loop, and compare them with greedy scheduling.

    `to_greedy` compares with the greedy schedule of the attempts in the order in which the launcher began them: more
    than 1 is idle time of devices. `to_submitted` compares with that of the jobs in their own order, failed ones first:
    which of two orders is shorter is chance, so there are the mean over all seeds, and the ratio farthest from 1.
    """
    rows = []
    VirtualCluster(*SIZES[0], seed=-1).run()  # Python adapts code to what it runs on
    for jobs, gpus in SIZES:
        costs, idle, order = [], [], []
        for seed in range(min(30, jobs_of_each // jobs)):
            cluster = VirtualCluster(jobs, gpus, seed=seed)
            assert all(each.status.name == "COMPLETED" for each in cluster.run())
            costs.append(cluster.loop_s / jobs * 1e3)
            idle.append(cluster.clock.now / cluster.greedy(gpus, cluster.begun))
            order.append(cluster.clock.now / cluster.greedy(gpus))
        row = {
            "jobs": jobs,
            "gpus": gpus,
            "sweeps": len(costs),
            "ms_per_job": median(costs),
            "to_greedy": max(idle),
            "to_submitted": sum(order) / len(order),
            "farthest": max(order, key=lambda ratio: abs(ratio - 1)),
        }
        rows.append(row)
        print("  ".join(f"{key} {value:,.4g}" if key != "jobs" else f"{value:,} jobs" for key, value in row.items()))
    costs = [row["ms_per_job"] for row in rows]
    nearest = max(row["to_greedy"] for row in rows)
    print(f"dearest to cheapest: {max(costs) / min(costs):.2f} (goal {FLAT}); to greedy: {nearest:.4f} (goal {NEAR})")
    return rows


def files_of_jobs(jobs: int = 20) -> dict[str, Any]:
    """Count the calls on files below the project that a job makes, by strace; its cost is what two sizes differ in."""
    if shutil.which("strace") is None:
        print("strace is not installed: nothing counted")
        return {}
    counted = {}
    for count in (2, 2 + jobs):
        with tempfile.TemporaryDirectory() as place:
            project = Path(place)
            (project / "train.py").write_text(PROGRAM)
            (project / "config.yaml").write_text(CONFIG)
            values = ",".join(str(number) for number in range(1, count + 1))
            command = [
                sys.executable,
                "train.py",
                "-m",
                f"lr={values}",
                "hydra/launcher=slots",
                "hydra.launcher.slots=2",
            ]
            trace = project / "trace"
            subprocess.run(
                ["strace", "-f", "-qq", "-y", "-o", str(trace), "-e", f"trace={CALLS}", *command],
                cwd=project, check=True, capture_output=True,
            )  # fmt: skip
            out = str(project / "out")
            calls = [line for line in trace.read_text(errors="replace").splitlines() if out in line or '"out' in line]
            files = [path for run in (project / "out").glob("Lr_*") for path in run.rglob("*") if path.is_file()]
            names = [match[1] for line in calls if (match := re.search(r"\b(\w+)\(", line))]
            counted[count] = {"calls": len(calls), "files": len(files), "fsync": sum("sync" in name for name in names)}
    few, many = counted[2], counted[2 + jobs]
    found = {name: (many[name] - few[name]) / jobs for name in few}
    print("per job, 20 steps: " + ", ".join(f"{value:.1f} {name}" for name, value in found.items()))
    return found


def make_runs(project: Path, runs: int) -> None:
    """Make a directory of runs: two real ones, and copies of the first."""
    (project / "train.py").write_text(PROGRAM)
    (project / "config.yaml").write_text(CONFIG)
    command = [sys.executable, "train.py", "-m", "lr=1,2", "hydra/launcher=slots", "hydra.launcher.slots=2"]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    for number in range(3, runs + 1):
        shutil.copytree(project / "out" / "Lr_1", project / "out" / f"Lr_{number}")


@contextmanager
def on_a_fuse(runs: int, log: Path | None) -> Iterator[Path]:
    """Make so many runs in a directory that is mounted by a FUSE (bindfs): where a shared file system would be asked.

    Each request becomes a line of `log`, if there is one, which makes all of them slow.
    """
    with tempfile.TemporaryDirectory() as place:
        real, mount = Path(place, "real"), Path(place, "mount")
        real.mkdir()
        mount.mkdir()
        make_runs(real, runs)
        options = ["-f", *(["-d"] if log else []), "-o", "attr_timeout=3,entry_timeout=3"]
        with (log or Path(os.devnull)).open("w") as written:
            fuse = subprocess.Popen(
                ["bindfs", *options, str(real), str(mount)], stdin=subprocess.DEVNULL, stdout=written, stderr=written
            )
        try:
            while not mount.is_mount():
                time.sleep(0.01)
            yield mount
        finally:
            subprocess.run(["umount", "--lazy", str(mount)], check=True)
            fuse.wait(30)


def read_by_all(project: Path, runs: int) -> Iterator[tuple[str, float]]:
    """Read all runs of a directory in each way; yield the way and its seconds, once it has read them."""
    trainctl = str(Path(sys.executable).with_name("trainctl"))
    for name, words in (("ls", "ls"), ("table, first", "table"), ("table, again", "table")):
        begun = time.perf_counter()
        subprocess.run([trainctl, words, "out"], cwd=project, check=True, capture_output=True)
        yield name, time.perf_counter() - begun
    page = subprocess.Popen(
        [sys.executable, "-c", PAGE, str(project / "out"), str(runs), str(OPEN_S)], stdout=subprocess.PIPE, text=True
    )
    with page:
        assert page.stdout is not None
        for line in page.stdout:
            name, seconds = line.rsplit(" ", 1)
            yield name, float(seconds)
    if page.returncode:
        raise RuntimeError("the page's index has not read the runs")


def shared(runs: int, counted: int = 500) -> dict[str, dict[str, float]]:
    """Count what each reader asks a shared file system for each run, and time it."""
    if shutil.which("bindfs") is None:
        print("bindfs is not installed: nothing counted")
        return {}
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        log = Path(place, "log")
        with on_a_fuse(counted, log) as mount:
            seen = log.stat().st_size
            for name, _ in read_by_all(mount, counted):
                with log.open("rb") as written:
                    written.seek(seen)
                    asked = Counter(re.findall(rb"opcode: (\w+)", written.read()))
                    seen = written.tell()
                found[name] = {what.decode().lower(): number / counted for what, number in asked.most_common()}
    with on_a_fuse(runs, None) as mount:
        for name, seconds in read_by_all(mount, runs):
            asked_for = ", ".join(f"{number:.1f} {what}" for what, number in found[name].items() if number >= 0.5)
            print(f"{name}, on a FUSE: {sum(found[name].values()):.1f} requests a run ({asked_for}); {seconds:.2f} s")
            found[name]["seconds"] = seconds
    return found


def readers(runs: int) -> dict[str, float]:
    """Time what reads all runs of a directory: `trainctl ls`, the examiner's table, twice, and the page's index."""
    with tempfile.TemporaryDirectory() as place:
        project = Path(place)
        make_runs(project, runs)
        found = dict(read_by_all(project, runs))
    print(f"{runs:,} runs: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in found.items()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("loop", "files", "readers", "shared"))
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    parts = {
        "loop": loop,
        "files": files_of_jobs,
        "readers": lambda: readers(chosen.runs),
        "shared": lambda: shared(chosen.runs),
    }
    found = {name: part() for name, part in parts.items() if chosen.only in (None, name)}
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
