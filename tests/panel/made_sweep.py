"""A sweep's directory as its files are left behind: runs that are done, failed, or were cut off."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from trainctl.config.changelog import Changelog, Edit, dumps
from trainctl.config.controls import Key
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, write_status


def make_run(
    root: Path,
    name: str,
    overrides: list[str],
    *,
    state: str = "done",
    result: Any = None,
    slot: str = "0",
    **more: Any,
) -> RunDir:
    """Write one run: a falling loss, an edit in the middle, and how it ended."""
    run = RunDir.at(root / name)
    run.create()
    config = dict(one.split("=", 1) for one in overrides) | {"lr": 0.1, "note": "plain", **more}
    keys = {key: Key("str" if isinstance(value, str) else "float").to_dict() for key, value in config.items()}
    files.write_yaml(run.run, {"name": name, "overrides": overrides, "packages": {"x": "1"}, "keys": keys})
    edit = Edit(50, {"lr": 0.01}, who="me", via="cli", note="calmer", at=time.time())
    run.changelog.write_text(dumps(Changelog(config, [edit])))
    records = [{"step": step, "loss": 1.0 / step, "accuracy": 1 - 1.0 / step} for step in range(1, 101)]
    run.metrics.write_text("".join(json.dumps(record) + "\n" for record in records))
    files.write_yaml(run.progress, {"step": 100, "total": 100, "rate": 12.5})
    if result is not None:
        files.write_yaml(run.result, {"value": result})
    begun = Status.running_here(attempt=1, slot=slot)
    ended = begun.end(
        state, exit_code=0 if state == "done" else 1, reason=None if state == "done" else "the loss is nan"
    )
    write_status(run, ended)
    run.log.write_text(f"log of {name}\n")
    return run


def make_sweep(root: Path, number: int) -> list[RunDir]:
    """Write runs over two kinds of norm, several learning rates and three seeds; every tenth has failed."""
    made = []
    for at in range(number):
        norm, rate, seed = ("new", "batch")[at % 2], ("0.1", "0.01", "0.001")[at // 2 % 3], at // 6
        overrides = [f"norm={norm}", f"optim.lr={rate}", f"seed={seed}"]
        failed = at % 10 == 9
        outcome = None if failed else round(0.9 + 0.01 * (at % 2) + 0.001 * (at // 6 % 3), 4)
        name = f"Norm_{norm}-Lr_{rate}-Seed_{seed}"
        state = "failed" if failed else "done"
        made.append(make_run(root, name, overrides, state=state, result=outcome, slot=str(at % 4)))
    return made
