"""Grids, commands and the examiner together: the scenario of mlrunner's README on two slots, killed and resumed.

Train, average checkpoints, test: real small scripts that know nothing of trainctl. The table of a sweep that was killed
twice is that of one that was not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sweep_app import processes_in

import trainctl
from trainctl.config import yaml
from trainctl.examine.writing import write

CLI = [sys.executable, "-c", "from trainctl.cli import main; main()"]

PARAMS = """
---
template:
  train: >
    python train.py data-bin/{data} --save-dir {_output} --norm {norm} [moment] [early-stop]
  avg: >
    python checkpoint_avg.py --inputs {_output} --num 5 --output {_output}/avg.json
  test: >
    python generate.py data-bin/{data} --beam 5 --path {_output}/avg.json
default: { data: iwslt14, norm: batch, moment: 0.1, early-stop: False }
resource: [ cpu, cpu ]
---
norm: [ new, batch ]
moment: [ 0.1, 0.05 ]
---
_title: early
norm: [ batch ]
early-stop: [ True, False ]
"""

# a line through points, fitted by steps along the gradient, of which every one is a checkpoint
TRAIN = """
import argparse, json, os, pathlib, time
parser = argparse.ArgumentParser()
parser.add_argument("data"); parser.add_argument("--save-dir"); parser.add_argument("--norm")
parser.add_argument("--moment", type=float); parser.add_argument("--early-stop", action="store_true")
args = parser.parse_args()
points = [tuple(map(float, line.split())) for line in open(args.data)]
with open("ran.txt", "a") as file: file.write(f"train {args.norm} {args.moment} {args.early_stop}\\n")
a, b, last, speed = 0.0, 0.0, None, (0.0, 0.0)
for step in range(30):
    errors = [(a * x + b - y, x) for x, y in points]
    loss = sum(e * e for e, _ in errors) / len(errors)
    if args.early_stop and last is not None and last - loss < 0.05: break
    scale = 0.2 if args.norm == "new" else 0.1
    slope = sum(e * x for e, x in errors), sum(e for e, _ in errors)
    speed = tuple(args.moment * v + g for v, g in zip(speed, slope))
    a, b, last = a - scale * speed[0] / len(points), b - scale * speed[1] / len(points), loss
    path = pathlib.Path(args.save_dir, f"checkpoint{step:02}.json")
    path.write_text(json.dumps([a, b]))
    print(f"step {step} loss {loss!r}", flush=True)
    while step == 20 and os.path.exists("hold"): time.sleep(0.02)
"""
AVERAGE = """
import argparse, json, pathlib, sys
parser = argparse.ArgumentParser()
parser.add_argument("--inputs"); parser.add_argument("--num", type=int); parser.add_argument("--output")
args = parser.parse_args()
with open("ran.txt", "a") as file: file.write("avg\\n")
paths = sorted(pathlib.Path(args.inputs).glob("checkpoint*.json"))[-args.num :]
last = [json.loads(path.read_text()) for path in paths]
pathlib.Path(args.output).write_text(json.dumps([sum(column) / len(last) for column in zip(*last)]))
"""
GENERATE = """
import argparse, json
parser = argparse.ArgumentParser()
parser.add_argument("data"); parser.add_argument("--beam", type=int); parser.add_argument("--path")
args = parser.parse_args()
a, b = json.load(open(args.path))
with open("ran.txt", "a") as file: file.write("test\\n")
points = [tuple(map(float, line.split())) for line in open(args.data)]
print(f"BLEU = {100 - sum((a * x + b - y) ** 2 for x, y in points)!r}")
"""


class Home:
    """A directory of a user of mlrunner's, who goes over to `trainctl run`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "data-bin").mkdir(parents=True)
        (path / "data-bin" / "iwslt14").write_text("".join(f"{x / 4} {x / 2 + 1 + x % 3 / 10}\n" for x in range(8)))
        for name, text in (("train", TRAIN), ("checkpoint_avg", AVERAGE), ("generate", GENERATE)):
            (path / f"{name}.py").write_text(text)
        (path / "params.yaml").write_text(PARAMS)
        bin_dir = os.path.dirname(sys.executable)
        self.environment = {**os.environ, "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"}
        self.environment["PYTHONPATH"] = str(Path(trainctl.__file__).parents[1])
        self.call("import", "mlrunner", "params.yaml")

    def call(self, *arguments: str) -> str:
        done = subprocess.run([*CLI, *arguments], cwd=self.path, env=self.environment, capture_output=True, text=True,
                              timeout=120, check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def sweep(self) -> list[str]:
        return ["run", "--config", "imported/params.yaml", "-m", "trainctl.panel.enabled=false"]

    def start(self) -> subprocess.Popen[bytes]:
        with (self.path / "launcher.log").open("ab") as log:
            return subprocess.Popen([*CLI, *self.sweep], cwd=self.path, env=self.environment, stdin=subprocess.DEVNULL,
                                    stdout=log, stderr=log, start_new_session=True)  # fmt: skip

    def ran(self) -> Counter[str]:
        file = self.path / "ran.txt"
        return Counter(file.read_text().splitlines() if file.exists() else [])

    def states(self) -> list[dict[str, str]]:
        statuses = (yaml.loads(path.read_text()) for path in sorted(self.path.glob("outputs/params/*/status.yaml")))
        return [{name: each["state"] for name, each in (status.get("commands") or {}).items()} for status in statuses]

    def processes(self) -> list[psutil.Process]:
        return processes_in(self.path)

    def table(self) -> list[list[str]]:
        """Return the table of mlrunner's README, by a parser of mlrunner's kind; how long runs took is left out."""

        def add_bleu(path: Path, experiment: Any, caches: dict[str, Any]) -> None:
            log = trainctl.latest_log("test", path)
            assert log is not None
            experiment.metric["bleu"] = float(log.read_text().partition("BLEU = ")[2])

        made = trainctl.Examiner().add(add_bleu).exam(self.path / "outputs" / "params").table()
        lines = [line.split("\t") for line in write(made, "tsv").splitlines()]
        kept = [place for place, head in enumerate(lines[0]) if head != "took_s"]
        return [[line[place] for place in kept] for line in lines]


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[Callable[[str], Home]]:
    made: list[Home] = []

    def make(name: str) -> Home:
        made.append(Home(tmp_path / name))
        return made[-1]

    yield make
    for home in made:
        for process in home.processes():
            process.kill()


@pytest.mark.slow
def test_readmes_scenario_killed_in_the_middle_has_the_table_of_one_that_was_not(
    homes: Callable[[str], Home], wait_until: Callable[..., Any]
) -> None:
    killed, whole = homes("killed"), homes("whole")
    said = whole.call(*whole.sweep)
    assert "6 jobs: 5 done, 1 skipped" in said  # the sixth is equal to one of the first grid
    assert whole.ran()["avg"] == whole.ran()["test"] == 5

    hold = killed.path / "hold"
    hold.touch()
    launcher = killed.start()
    wait_until(
        lambda: len(list(killed.path.rglob("checkpoint20.json"))) == 2, "two jobs are in the middle, on two slots"
    )
    assert [states.get("train") for states in killed.states()] == ["running", "running"]
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    wait_until(lambda: not killed.processes(), "nothing of it is left")

    hold.unlink()
    launcher = killed.start()
    wait_until(lambda: any(states.get("test") == "done" for states in killed.states()), "a job has gone all the way")
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    wait_until(lambda: not killed.processes(), "nothing of it is left")
    done = sum(states.get("train") == "done" for states in killed.states())

    assert "6 jobs:" in killed.call(*killed.sweep)
    assert all(states == {"train": "done", "avg": "done", "test": "done"} for states in killed.states())
    trained = sum(count for what, count in killed.ran().items() if what.startswith("train"))
    assert trained <= 2 + 2 + 5  # only what a kill had cut off has begun again
    assert done >= 1

    table = whole.table()
    assert killed.table() == table
    assert len(table) == 6
    assert {"norm", "moment", "early-stop", "bleu"} <= set(table[0])
    assert len({tuple(line[1:]) for line in table[1:]}) == 5
    shown = killed.call("table", "outputs/params", "--format", "tsv").splitlines()
    assert [line.split("\t")[0] for line in shown[:6]] == [line[0] for line in table]
