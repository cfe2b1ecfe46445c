"""What a step, a read and `live.log()` cost, beside an empty method call and others who show edits while training.

    python benchmarks/step.py [--with trainconfig --with prefigure --with hotcb]

`--with` measures the rival itself, in an environment of its own, made in `.venv-bench/`; one that cannot be
installed is said to be left out. Without it there are small re-creations of what two of them do at every step:
trainconfig reads its config, written as YAML, from an SQLite file, parses it and compares it with the last one;
prefigure's online fine control looks at the control file and parses it.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from cost import cost_ns
from omegaconf import OmegaConf
from rivals import RIVALS, measure

import trainctl
from trainctl.attempt import attempt as attempts
from trainctl.rundir.inbox import file_request

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
    """The least that a method call, and a read of an attribute, can cost."""

    lr = 1e-4

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


def own_costs(folder: Path) -> dict[str, float]:
    """Return nanoseconds per call, by what is called."""
    live = trainctl.live(OmegaConf.create(CONFIG), run_dir=folder / "run")
    empty, untouched = Empty(), OmegaConf.create(CONFIG)
    ways: dict[str, Callable[[], object]] = {
        "an empty method call": empty.step,
        "live.step()": live.step,
        "an empty lambda": lambda: None,
        "an attribute, in a lambda": lambda: empty.lr,
        "live.now.optim.lr, in a lambda": lambda: live.now.optim.lr,
        "the same read of a config without us, in a lambda": lambda: untouched.optim.lr,
        "cfg.optim.lr, in a lambda": lambda: live.config.optim.lr,
        "live.log() of 3 numbers, in a lambda": lambda: live.log(loss=0.5, accuracy=0.25, lr=0.1),
    }
    found = cost_ns(ways)
    attempt = attempts.current()
    assert attempt is not None  # live() began it
    file_request(attempt.run, {"optim.lr": 2e-4}, via="benchmark")
    while live.config.optim.lr != 2e-4:  # this reads the key, so what is measured then is every later read
        live.step()
    found |= cost_ns(
        {
            "cfg.optim.lr after an edit, in a lambda": lambda: live.config.optim.lr,
            "live.now.optim.lr after an edit, in a lambda": lambda: live.now.optim.lr,
        }
    )
    attempt.end("done", exit_code=0)
    return found


def rival_costs(folder: Path, wanted: Sequence[str]) -> tuple[dict[str, float], list[str]]:
    """Return nanoseconds per call of what the others do, and a sentence for each that is left out."""
    found, left_out = {}, []
    for name in RIVALS:
        if name not in wanted:
            left_out.append(f"{name} itself is left out; --with {name} measures it")
            continue
        try:
            costs = measure(name, "step")
        except (RuntimeError, subprocess.CalledProcessError) as error:
            left_out.append(f"{name} itself is left out: it could not be installed or run ({error})")
        else:
            found |= {f"{name}: a step": costs["step"], f"{name}: a read": costs["read"]}
    ways: dict[str, Callable[[], object]] = {}
    if "prefigure: a step" not in found:
        ways["prefigure's way: a control file parsed per step"] = ControlFile(folder).step
    if "trainconfig: a step" not in found:
        ways["trainconfig's way: SQLite and YAML per step"] = SqliteYaml(folder).step
    return {**found, **cost_ns(ways)}, left_out


def main() -> None:
    """Print one line per way."""
    parser = argparse.ArgumentParser(description="nanoseconds per step without edits")
    parser.add_argument("--with", dest="wanted", action="append", default=[], choices=RIVALS, metavar="RIVAL")
    parser.add_argument("--at-most", type=float, metavar="NS", help="end with 1 when live.step() costs more than NS")
    parser.add_argument("--json", action="store_true", help="print our own figures alone, as JSON")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        costs = own_costs(Path(name))
        if given.json:
            print(json.dumps(costs))
            return
        others, left_out = rival_costs(Path(name), given.wanted)
    own, empty = costs["live.step()"], costs["an empty method call"]
    for title, cost in {**costs, **others}.items():
        print(f"{title:<50} {cost:>14,.0f} ns {cost / own:>14,.2f} x live.step()")
    print(f"live.step() is {own / empty:.1f} times an empty method call; rivals have no log() without a service")
    for sentence in left_out:
        print(sentence)
    if given.at_most is not None and own > given.at_most:
        raise SystemExit(f"live.step() costs {own:.0f} ns, more than {given.at_most:.0f} ns")


if __name__ == "__main__":
    main()
