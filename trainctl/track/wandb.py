"""Weights & Biases: a run of its client, online or offline."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainctl.config import yaml
from trainctl.config.recordlog import read_records
from trainctl.run.reachable import check_reachable
from trainctl.run.rundir import RunDir
from trainctl.run.status import State
from trainctl.track.names import to_wandb
from trainctl.track.tracker import FINISHED, Change, Facts, Record

STEP = "trainctl/step"  # rows are counted by W&B and never go back; this is what they are drawn over
_INIT_S = 30
_CONNECT_S = 5
_LOOKS, _STILL = 100, 10  # a tenth of a second apart


def make(run: RunDir) -> Wandb:
    """Make the tracker of a run."""
    return Wandb(run)


class Wandb:
    """Sends to the run that the task has opened, else to one of its own: named as the run dir, in the sweep's group.

    Its files lie in the run dir. One of its own that is offline and was not closed (we were killed) is sent everything
    again, but for the rows that are found in its files.
    """

    def __init__(self, run: RunDir) -> None:
        import wandb

        self._library: Any = wandb
        self._dir = run.path
        self._run: Any = None
        self._attached = False
        self._is_open = False
        self._defined: set[str] = set()
        self._there: Counter[str] = Counter()
        self.knows_itself = False

    def open(self, facts: Facts, kept: Mapping[str, Any]) -> dict[str, Any]:
        wandb = self._library
        config = yaml.loads(facts.document)
        self._attached = wandb.run is not None
        if wandb.run is not None:
            self._run = wandb.run
            missing = {key: value for key, value in config.items() if key not in self._run.config}
            self._run.config.update(missing)
        else:
            was_cut = kept.get("open", False)
            if was_cut:
                _wait_until_still(self._dir, kept["key"])
            self._run = self._init(facts, kept["key"], config)
            self._run.define_metric(STEP, hidden=True)
            self._run.define_metric("*", step_metric=STEP)
            self.knows_itself = bool(was_cut and self._run.offline)
            if self.knows_itself:
                self._there = Counter(_rows(self._dir, kept["key"]))
        self._is_open = True
        about = {"sweep": facts.group, "overrides": facts.overrides, "page": facts.url}
        self._run.config.update({"_trainctl": about}, allow_val_change=True)
        self._file("config.yaml", facts.document)
        return self.kept()

    def metrics(self, records: Sequence[Record]) -> None:
        for record in records:
            self._row(record.step, record.values)

    def changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            row = {f"hparams/{key}": value for key, value in change.values.items()}
            self._row(change.step, {**row, "trainctl/note": change.note} if change.note else row)

    def rewind(self, step: int) -> bool:
        return False  # rows only ever come after one another, and both are drawn

    def changelog(self, text: str) -> None:
        self._file("changelog.yaml", text)

    def end(self, state: State, reason: str | None) -> None:
        """Say how the run ended; a run of the task is ended by the task."""
        self._run.summary["trainctl/state"] = f"{state}: {reason}" if reason else state
        if not self._attached:
            self._run.finish(exit_code=0 if state in FINISHED else 1)
        self._is_open = False

    def kept(self) -> dict[str, Any]:
        return {"open": self._is_open and not self._attached}

    def address(self) -> str | None:
        return str(self._run.url or self._run.dir)

    def close(self) -> None:
        if self._is_open and not self._attached:
            with contextlib.suppress(Exception):
                self._run.finish(exit_code=0)
        self._is_open = False

    def _init(self, facts: Facts, key: str, config: dict[str, Any]) -> Any:
        wandb = self._library
        own = wandb.setup().settings
        if own.mode in (None, "online", "shared"):
            check_reachable(own.base_url, _CONNECT_S)
        settings = wandb.Settings(console="off", silent=True, init_timeout=_INIT_S, reinit="create_new")
        return wandb.init(
            id=key,
            resume="allow",
            project=own.project or facts.group,
            name=facts.name,
            group=facts.group,
            dir=str(self._dir),
            config=config,
            settings=settings,
        )

    def _row(self, step: int, values: Mapping[str, Any]) -> None:
        row = {STEP: step, **{to_wandb(name): value for name, value in values.items()}}
        mark = _mark(row)
        if self._there[mark] > 0:
            self._there[mark] -= 1
            return
        if self._attached:
            for name in row.keys() - self._defined:
                self._run.define_metric(name, step_metric=STEP)
            self._defined |= row.keys()
        self._run.log(row, commit=True)

    def _file(self, name: str, text: str) -> None:
        path = Path(self._run.dir) / "trainctl" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
        self._run.save(str(path), base_path=self._run.dir, policy="live")


def _wait_until_still(directory: Path, key: str) -> None:
    """Wait until nobody writes the logs any more: the client's own process outlives a training that was killed."""
    sizes: list[int] = []
    for _ in range(_LOOKS):
        sizes.append(sum(path.stat().st_size for path in directory.glob(_logs(key))))
        if len(sizes) > _STILL and len(set(sizes[-_STILL:])) == 1:
            return
        time.sleep(0.1)


def _logs(key: str) -> str:
    return f"wandb/offline-run-*-{key}/run-{key}.wandb"


def _rows(directory: Path, key: str) -> Iterator[str]:
    """Yield marks of the rows in the files of an offline run; what its last writer left half-written does not count."""
    from wandb.proto import wandb_internal_pb2

    for path in sorted(directory.glob(_logs(key))):
        for data in read_records(path.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(data)
            if record.WhichOneof("record_type") == "history":
                yield _mark({_name(item): json.loads(item.value_json) for item in record.history.item})


def _name(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


def _mark(row: Mapping[str, Any]) -> str:
    """Return what a row and its copy in the log have in common: the client writes 1.0 as 1, and NaN as text."""
    own = {name: _plain(value) for name, value in row.items() if not name.startswith("_")}
    return json.dumps(own, sort_keys=True, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() else value if math.isfinite(value) else str(value).lower()
    if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity"):
        return str(float(value))
    return list(map(_plain, value)) if isinstance(value, list | tuple) else value
