"""What `live.step()` costs without edits, beside an empty method call and two other ways to see edits while training.

    python benchmarks/step.py [--quick]

The two others are small re-creations of what these projects do at every step, not the projects themselves:
trainconfig reads its config, written as YAML, from an SQLite file, parses it and compares it with the last one;
prefigure's online fine control looks at the control file and parses it.
"""

from __future__ import annotations

import argparse
import copy
import logging
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

import trainctl
from trainctl.run import attempt as attempts

CONFIG: dict[str, Any] = {
    "seed": 1,
    "batch_size": 32,
    "freeze_bn": False,
    "model": {"depth": 50, "width": 256, "head": {"dropout": 0.1, "layers": [512, 256, 10]}},
    "optim": {"lr": 1e-4, "betas": [0.9, 0.999], "weight_decay": 0.01, "clip": 1.0},
    "schedule": {"name": "cosine", "warmup": 500, "end": 1e-6},
    "data": {"path": "data", "workers": 4, "augment": {"flip": True, "crop": 0.9, "jitter": [0.4, 0.4, 0.4]}},
    "generator": {"image_size": 256, "latent_size": 512, "opt": {"lr": 1e-4, "betas": [0.5, 0.999]}},
}


class Empty:
    """The least that a method call can cost."""

    __slots__ = ()

    def step(self) -> None:
        return None


class SqliteYaml:
    """As trainconfig's `Config.update()`: an exclusive transaction, a YAML parse, a comparison and a copy per step."""

    def __init__(self, folder: Path) -> None:
        self._file = str(folder / "changelog.db")
        self._state = copy.deepcopy(CONFIG)
        connection = sqlite3.connect(self._file)
        connection.execute("CREATE TABLE changelog (item_id INT, yaml TEXT)")
        connection.execute("INSERT INTO changelog VALUES (0, ?)", (yaml.safe_dump(CONFIG),))
        connection.commit()
        connection.close()

    def step(self) -> None:
        connection = sqlite3.connect(self._file, isolation_level="EXCLUSIVE", timeout=60)
        connection.execute("BEGIN EXCLUSIVE")
        (text,) = connection.execute("SELECT yaml FROM changelog WHERE item_id = 0").fetchone()
        connection.commit()
        connection.close()
        found = yaml.safe_load(text)
        if found != self._state:
            self._state = found
        copy.deepcopy(self._state)


class ControlFile:
    """As prefigure's online fine control: look whether the file is there, read it, and parse it, at each step."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "control.yaml"
        self._file.write_text(yaml.safe_dump(CONFIG["optim"]))
        self._state = copy.deepcopy(CONFIG["optim"])

    def step(self) -> None:
        if self._file.exists() and self._file.stat().st_size:
            found = yaml.safe_load(self._file.read_text())
            if found != self._state:
                self._state = found


def cost_ns(step: Callable[[], object], calls: int, rounds: int) -> float:
    """Return the median over rounds of nanoseconds per call in a plain loop, the loop itself taken off."""
    found = []
    for _ in range(rounds):
        started = time.perf_counter_ns()
        for _ in range(calls):
            pass
        empty = time.perf_counter_ns()
        for _ in range(calls):
            step()
        found.append((time.perf_counter_ns() - empty - (empty - started)) / calls)
    return statistics.median(found)


def main() -> None:
    """Print one line per way."""
    parser = argparse.ArgumentParser(description="nanoseconds per step without edits")
    parser.add_argument("--quick", action="store_true", help="a tenth of the calls")
    parser.add_argument("--at-most", type=float, metavar="NS", help="end with 1 when live.step() costs more than NS")
    given = parser.parse_args()
    share = 0.1 if given.quick else 1.0
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        live = trainctl.live(OmegaConf.create(CONFIG), run_dir=folder / "run")
        ways: list[tuple[str, Callable[[], object], int]] = [
            ("an empty method call", Empty().step, 1_000_000),
            ("live.step()", live.step, 1_000_000),
            ("live.now.optim.lr", lambda: live.now.optim.lr, 1_000_000),
            ("a control file parsed per step (prefigure's way)", ControlFile(folder).step, 300),
            ("SQLite and YAML per step (trainconfig's way)", SqliteYaml(folder).step, 50),
        ]
        costs = {title: cost_ns(step, max(5, int(calls * share)), rounds=7) for title, step, calls in ways}
        own = costs["live.step()"]
        for title, cost in costs.items():
            print(f"{title:<50} {cost:>14,.0f} ns {cost / own:>12,.2f} x live.step()")
        attempt = attempts.current()
        assert attempt is not None  # live() began it
        attempt.end("done", exit_code=0)
    if given.at_most is not None and own > given.at_most:
        raise SystemExit(f"live.step() costs {own:.0f} ns, more than {given.at_most:.0f} ns")


if __name__ == "__main__":
    main()
