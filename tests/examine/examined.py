"""Run dirs as their files are left behind, and what mlrunner leaves behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainctl.config.changelog import Changelog, Edit, dumps
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, write_status


def make(
    path: Path,
    config: dict[str, Any],
    *overrides: str,
    state: Any = "done",
    reason: str | None = None,
    result: Any = None,
    metrics: Sequence[dict[str, Any]] = (),
    edits: Sequence[Edit] = (),
) -> RunDir:
    """Write the files of a run that has ended."""
    run = RunDir.at(path)
    run.create()
    files.write_yaml(run.run, {"name": run.name, "overrides": list(overrides), "identity": "f00d", "packages": {}})
    run.changelog.write_text(dumps(Changelog(config, list(edits))))
    run.metrics.write_text("".join(json.dumps({"step": at, **one}) + "\n" for at, one in enumerate(metrics, 1)))
    if state == "done":
        files.write_yaml(run.result, {"value": result})
    write_status(run, Status(state, started=1000.0, ended=1060.0, reason=reason))
    return run


def make_mlrunner(root: Path, loss: str, seed: int, accuracies: Sequence[float]) -> Path:
    """Write an output directory of mlrunner, as it leaves it."""
    name = f"Data_CIFAR10-Loss_{loss}-Lr_0.1-Seed_{seed}"
    path = root / name
    path.mkdir(parents=True)
    log = path / "log.train.20220517.074342"
    (path / "param").write_text(
        f"_name: {name}\n_output: output/{name}\n_scripts:\n  train: CUDA_VISIBLE_DEVICES=2 python3 main.py"
        f" --loss {loss} --lr 0.1 --seed {seed}  > {log} 2>&1\n_time: '20220517.074342'\n"
        f"data: CIFAR10\nloss: {loss}\nlr: 0.1\nseed: {seed}"
    )
    (path / "stat").write_text("train: finished\n")
    lines = [f"Iter {at}: loss=9, test_acc={acc:.4f}, duration=0:00:08\n" for at, acc in enumerate(accuracies, 1)]
    log.write_text("".join(lines))
    return path
