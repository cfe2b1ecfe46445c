"""Weights & Biases: a run of its client, online or offline."""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainctl.attempt import attempt
from trainctl.config import yaml
from trainctl.formats.leveldb_log import read_records
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import State
from trainctl.track.names import to_wandb
from trainctl.track.net import check_reachable
from trainctl.track.spool import Row, Spool
from trainctl.track.tracker import FINISHED, Facts, MetricRecord, ValueChange

STEP = "trainctl/step"  # rows are counted by W&B and never go back; this is what they are drawn over
_INIT_S, _FINISH_S = 30, 300  # how long `trainctl sync` waits
_PATIENCE_S = 24 * 3600
_CONNECT_S = 5
_UNWIND_S, _AGAIN_S = 20, 0.2  # for the tracker's thread to notice that the client is gone
_LONGEST_LOG = 1 << 32
_LOOKS, _STILL = 100, 10  # a tenth of a second apart


def make(run: RunDir) -> Wandb:
    """Make the tracker of a run."""
    return Wandb(run)


def task_has_run() -> bool:
    """Whether a run is open in this process."""
    import wandb

    return wandb.run is not None


def has_all(_run: RunDir, _kept: Mapping[str, Any]) -> bool:
    """Return true: the server tells what it has only to a client that opens the run, which would resume it."""
    return True


class Wandb:
    """Sends to the run that the task has opened, else to one of its own: named as the run dir, in the sweep's group.

    Its files lie in the run dir. What is handed to the client is not yet on the server, so the rows of a run of its own
    are spooled: when it is opened again, the server (offline: the client's log) says how many it has. A run of the task
    that is no longer open anywhere is opened again, and gets what follows.
    """

    def __init__(self, run: RunDir) -> None:
        import wandb

        self._library: Any = wandb
        self._dir = run.path
        self._spool = Spool(run.path / ".track" / "wandb.rows")
        self._run: Any = None
        self._is_own = self._is_ours_to_end = self._is_open = False
        self.is_attached = False
        self._config: dict[str, Any] = {}
        self._defined: set[str] = set()
        self._kept: dict[str, Any] = {}
        self._client = Client("wandb-core", self._has_other_runs, wandb.teardown)
        self.has_lost_all = False

    def open(self, facts: Facts, kept: Mapping[str, Any]) -> dict[str, Any]:
        wandb = self._library
        config = self._config = yaml.loads(facts.document)
        self._kept = {name: value for name, value in kept.items() if name not in ("key", "over", "live")}
        self._is_ours_to_end = wandb.run is None
        self.is_attached = wandb.run is not None or "run" in self._kept
        if wandb.run is not None:
            self._client.started()
            self._run = wandb.run
            self._kept["run"] = {"entity": self._run.entity, "project": self._run.project, "id": self._run.id}
        elif "run" in self._kept:
            noted = self._kept["run"]
            self._run = self._init(**{name: noted[name] for name in ("entity", "project", "id")})
        else:
            self._open_own(facts, kept["key"], config)
        self._is_own = "run" not in self._kept
        self._is_open = True
        about = {"sweep": facts.group, "overrides": facts.overrides, "page": facts.url}
        self._run.config.update({"_trainctl": about}, allow_val_change=True)
        self._file("config.yaml", facts.document)
        return self.kept()

    def metrics(self, records: Sequence[MetricRecord]) -> None:
        self._rows([(record.step, record.values) for record in records])

    def changes(self, changes: Sequence[ValueChange]) -> None:
        rows: list[tuple[int, Mapping[str, Any]]] = []
        for change in changes:
            row = {f"hparams/{key}": value for key, value in change.values.items()}
            rows.append((change.step, {**row, "trainctl/note": change.note} if change.note else row))
        self._rows(rows, commit=not self.is_attached)  # a row counts a step, and then the task's own is too late
        for change in changes:  # a column of the table of runs
            self._run.summary.update({f"edited/{key}": text for key, text in change.said.items()})

    def rewind(self, step: int) -> bool:
        return False  # rows only ever come after one another, and both are drawn

    def changelog(self, text: str) -> None:
        self._file("changelog.yaml", text)

    def end(self, state: State, reason: str | None) -> None:
        """Say how the run ended; a run of the task is ended by the task.

        A run of the task gets the config only now: set earlier, it would crash a task that sets a key to another value.
        """
        if not self._is_own:
            missing = {key: value for key, value in self._config.items() if key not in self._run.config}
            self._run.config.update(missing)
        self._run.summary["trainctl/state"] = f"{state}: {reason}" if reason else state
        if self._is_ours_to_end:
            self._run.finish(exit_code=0 if state in FINISHED else 1)
        self._client.done()
        self._is_open = False

    def kept(self) -> dict[str, Any]:
        spooled = self._spool.kept() if self._is_own else {}
        return {**self._kept, **spooled, "open": self._is_open and self._is_own}

    @property
    def is_over(self) -> bool:
        is_theirs = self.is_attached and not self._is_ours_to_end
        return is_theirs and self._run is not None and self._library.run is not self._run

    def address(self) -> str | None:
        return str(self._run.url or self._run.dir)

    def close(self) -> None:
        if self._is_open:
            with contextlib.suppress(Exception):
                if self._is_ours_to_end:
                    self._run.finish(exit_code=0)
                self._client.done()
        self._is_open = False

    def _open_own(self, facts: Facts, key: str, config: dict[str, Any]) -> None:
        if self._kept.get("open", False):
            _wait_until_still(self._dir, key)
        project = self._library.setup().settings.project or facts.group
        about = {"id": key, "project": project, "name": facts.name, "group": facts.group, "config": config}
        self._run = self._init(hides_argv=facts.argv_is_secret, **about)
        self._run.define_metric(STEP, hidden=True)
        self._run.define_metric("*", step_metric=STEP)
        noted, known = self._kept.get("rows", 0), self._kept.get("known", [])
        arrived = _count_rows(self._dir, key) if self._run.offline else self._run.starting_step
        if self._run.settings.mode == "shared":
            arrived = noted  # there nobody counts rows
        self.has_lost_all = not self._spool.recover(arrived, noted, known)
        self._spool.give_waiting(self._log)

    def _init(self, *, hides_argv: bool = False, **about: Any) -> Any:
        wandb = self._library
        setup = wandb.setup()
        own = setup.settings
        if own.mode in (None, "online", "shared"):
            check_reachable(own.base_url, _CONNECT_S)
        if hasattr(setup, "ensure_service"):  # of older clients `setup` starts the process
            setup.ensure_service()
        self._client.started()
        # of a run that could not be opened the client does not let go; a training waits until it can, in this thread
        patience_s = _INIT_S if attempt.current() is None else _PATIENCE_S
        settings = wandb.Settings(console="off", silent=True, init_timeout=patience_s, reinit="create_new")
        if hides_argv:
            settings.x_disable_meta = True  # the client's own description of the process has the command line in it
        if hasattr(settings, "finish_timeout") and not own.finish_timeout:
            settings.finish_timeout, settings.finish_timeout_raises = _FINISH_S, True
        return wandb.init(**about, resume="allow", dir=str(self._dir), settings=settings)

    def _has_other_runs(self) -> bool:
        """Whether the client also serves runs of the task, and so must not be killed."""
        setup = self._library.setup()
        runs = getattr(setup, "_active_runs", [self._library.run])  # private, there since 0.19
        return any(run is not None and not (run is self._run and self._is_ours_to_end) for run in runs)

    def _rows(self, steps: Sequence[tuple[int, Mapping[str, Any]]], *, commit: bool = True) -> None:
        rows = [{STEP: step, **{to_wandb(name): value for name, value in values.items()}} for step, values in steps]
        if not self._is_own:
            for row in rows:
                self._define(row)
                self._run.log(row, commit=commit)
        else:
            self._spool.send(rows, self._log)

    def _define(self, row: Row) -> None:
        for name in row.keys() - self._defined:
            self._run.define_metric(name, step_metric=STEP)
        self._defined |= row.keys()

    def _log(self, row: Row) -> None:
        self._run.log(row, commit=True)

    def _file(self, name: str, text: str) -> None:
        path = Path(self._run.dir) / "trainctl" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
        self._run.save(str(path), base_path=self._run.dir, policy="live")


def _wait_until_still(directory: Path, key: str) -> None:
    """Wait until nobody writes offline logs any more: the client's own process outlives a training that was killed."""
    sizes: list[int] = []
    for _ in range(_LOOKS if any(directory.glob(_logs(key))) else 0):
        sizes.append(sum(path.stat().st_size for path in directory.glob(_logs(key))))
        if len(sizes) > _STILL and len(set(sizes[-_STILL:])) == 1:
            return
        time.sleep(0.1)


def _logs(key: str) -> str:
    return f"wandb/offline-run-*-{key}/run-{key}.wandb"


def _count_rows(directory: Path, key: str) -> int:
    """Count the rows in the logs of an offline run; what the last writer left half-written does not count."""
    from wandb.proto import wandb_internal_pb2

    logs = (read_records(files.read_bytes(path, _LONGEST_LOG)) for path in directory.glob(_logs(key)))
    kinds = (wandb_internal_pb2.Record.FromString(data).WhichOneof("record_type") for log in logs for data in log)
    return sum(kind == "history" for kind in kinds)


class Client:
    """The process in which a tracker's library sends, found by its name: a program that ends does not wait for it.

    Such a library finishes its runs in an exit handler, which waits for the server however long that takes. Data that
    was not sent by then is not lost: it is in the run dir.

    Args:
        is_shared: returns whether others use the process too; then it is left alone.
        forget: makes the library give up the process.
    """

    def __init__(self, name: str, is_shared: Callable[[], bool], forget: Callable[[], None]) -> None:
        self._name = name
        self._is_shared = is_shared
        self._forget = forget
        self._thread = threading.main_thread()

    def started(self) -> None:
        """Register an exit handler, which runs before that of the client: handlers run in reverse order."""
        atexit.register(self._end)
        self._thread = threading.current_thread()
        current = attempt.current()
        if current is not None:
            current.watch_again()

    def done(self) -> None:
        """Leave the rest to the library, since everything was sent."""
        atexit.unregister(self._end)

    def _end(self) -> None:
        import psutil  # for this rare case only

        if not self._is_shared():
            # the thread hears that the client is gone, which it does not once the library has let go of it; a thread
            # that the interpreter itself stops, within a library, may abort the program
            until = time.monotonic() + _UNWIND_S
            while True:
                for child in psutil.Process().children():  # again: one may have been about to start
                    if child.name() == self._name:
                        child.kill()
                if self._thread is threading.current_thread() or time.monotonic() > until:
                    break
                self._thread.join(_AGAIN_S)
                if not self._thread.is_alive():
                    break
            with contextlib.suppress(Exception, SystemExit):
                self._forget()
