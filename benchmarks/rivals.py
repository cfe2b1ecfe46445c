"""Others who let a person change values while a training runs, each doing what its users call at every step.

Run by the Python of an environment that holds the rival alone (`environments`), by `step.py` and `latency.py`:

    python benchmarks/rivals.py NAME FOLDER step
    python benchmarks/rivals.py NAME FOLDER latency EDITS STEP_MS

Both print JSON: nanoseconds per call by what is called; or milliseconds from each request to its effect, and how long
the step took that applied it. Besides the rival this file needs the standard library only.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cost import cost_ns
from environments import programs_of

INSTALLS: dict[str, list[tuple[str, ...]]] = {
    "trainconfig": [("trainconfig",)],
    # its other requirements (PyTorch Lightning among them) are not for what is measured here
    "prefigure": [("--no-deps", "prefigure"), ("gradio", "wandb", "setuptools<80")],
    "hotcb": [("hotcb", "pyyaml")],
}
VALUES: dict[str, Any] = {
    "asked": 0.0, "seed": 1, "batch_size": 32, "freeze_bn": False, "lr": 1e-4, "weight_decay": 0.01, "clip": 1.0,
    "warmup": 500, "end": 1e-6, "depth": 50, "width": 256, "dropout": 0.1, "image_size": 256, "latent_size": 512,
}  # fmt: skip
CALLBACK = """
class Values:
    def __init__(self, id):
        self.asked = 0.0
    def set_params(self, **values):
        self.asked = values["asked"]
    def handle(self, event, env):
        env["asked"] = self.asked
"""


class Trainconfig:
    """A YAML file with its values; edits come through an SQLite file, which the page writes."""

    def __init__(self, folder: Path) -> None:
        os.environ["HOME"] = str(folder)  # its databases lie in the home directory
        import trainconfig

        (folder / "config.yaml").write_text(json.dumps(VALUES))
        self.config = trainconfig.Config
        self.config.init(str(folder / "config.yaml"), str(folder / "changelog.yaml"))

    def step(self) -> None:
        self.config.update()

    def value(self) -> float:
        return float(self.config.asked)

    @staticmethod
    def ask(_folder: Path, value: float) -> None:
        from trainconfig.buffer import CHANGELOG_BUFFER_FILE, SQLiteBuffer

        SQLiteBuffer(name="changelog", file=CHANGELOG_BUFFER_FILE).put({**VALUES, "asked": value}, True)


class Prefigure:
    """Its online fine control without the page: an INI file that is looked at in each step."""

    def __init__(self, folder: Path) -> None:
        os.chdir(folder)
        from prefigure.ofc import OFC

        self.args = argparse.Namespace(name="bench", **VALUES)
        self.control = OFC(self.args, use_gui=False, use_wandb=False)

    def step(self) -> None:
        self.control.update()

    def value(self) -> float:
        return float(self.args.asked)

    @staticmethod
    def ask(folder: Path, value: float) -> None:
        values = "".join(f"{key} = {one}\n" for key, one in {**VALUES, "asked": repr(value)}.items())
        (folder / "new").write_text(f"[OFC]\nname = bench\n{values}")
        os.replace(folder / "new", folder / "bench-ofc.ini")  # its own writing can be read half done


class Hotcb:
    """A file of commands whose end is looked at in each step; what they change is told to a callback."""

    def __init__(self, folder: Path) -> None:
        (folder / "values.py").write_text(CALLBACK)
        try:
            from hotcb.kernel import HotKernel
        except ImportError:  # before 2.0
            from hotcb.controller import HotController

            self.kernel: Any = HotController(str(folder / "hotcb.yaml"), str(folder / "hotcb.commands.jsonl"))
        else:
            self.kernel = HotKernel(run_dir=str(folder))
        self.env = {"step": 0, "asked": 0.0, "log": lambda *_: None}
        target = {"kind": "python_file", "path": str(folder / "values.py"), "symbol": "Values"}
        self.write(folder, {"op": "load", "target": target, "init": {}, "enabled": True})
        self.step()

    def step(self) -> None:
        self.env["step"] += 1
        self.kernel.apply(self.env, ["train_step_end"])

    def value(self) -> float:
        return float(self.env["asked"])

    @classmethod
    def ask(cls, folder: Path, value: float) -> None:
        cls.write(folder, {"op": "set_params", "params": {"asked": value}})

    @staticmethod
    def write(folder: Path, command: dict[str, Any]) -> None:
        with (folder / "hotcb.commands.jsonl").open("a") as file:
            file.write(json.dumps({"module": "cb", "id": "values", **command}) + "\n")


RIVALS: dict[str, Any] = {"trainconfig": Trainconfig, "prefigure": Prefigure, "hotcb": Hotcb}


def measure(name: str, what: str, *numbers: float) -> Any:
    """Return what the other form of this file prints, in the rival's own environment.

    Raises:
        RuntimeError: it cannot be installed here.
        subprocess.CalledProcessError: it fails.
    """
    python = programs_of(name, *INSTALLS[name]) / "python"
    with tempfile.TemporaryDirectory() as folder:
        command = [str(python), __file__, name, folder, what, *map(str, numbers)]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def request(ask: Callable[[Path, float], None], folder: Path, edits: int) -> None:
    """Ask for edits at random moments; each value is the time at which it was asked for."""
    for _ in range(edits):
        time.sleep(0.02 + random.random() * 0.1)
        ask(folder, time.time())


def latency(rival: Any, folder: Path, edits: int, step_s: float) -> dict[str, list[float]]:
    """Train while another process asks; return milliseconds to the effect, and of the steps that brought it."""
    found: dict[str, list[float]] = {"latencies": [], "holds": []}
    asking = multiprocessing.get_context("fork").Process(target=request, args=(rival.ask, folder, edits))
    asking.start()
    seen = rival.value()
    ended = None
    while ended is None or time.time() < ended + 2:
        began = time.perf_counter()
        rival.step()
        took = time.perf_counter() - began
        if rival.value() != seen:
            seen = rival.value()
            found["latencies"].append((time.time() - seen) * 1000)
            found["holds"].append(took * 1000)
        if ended is None and not asking.is_alive():
            ended = time.time()
        time.sleep(step_s)
    return found


def main() -> None:
    name, folder, what, *numbers = sys.argv[1:]
    answer = os.dup(1)
    os.dup2(2, 1)  # what the rival prints is not our answer
    rival = RIVALS[name](Path(folder))
    if what == "step":
        found: Any = cost_ns({"step": rival.step, "read": rival.value})
    else:
        found = latency(rival, Path(folder), int(numbers[0]), float(numbers[1]) / 1000)
    os.write(answer, json.dumps(found).encode())


if __name__ == "__main__":
    main()
