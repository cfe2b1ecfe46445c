"""MLflow: a run on a tracking server, by its client."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from trainctl.config import yaml
from trainctl.errors import SettingError, TrainctlError
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import State, read_status
from trainctl.text import shortened
from trainctl.track import net
from trainctl.track.cursor import place_of
from trainctl.track.facts import Told, run_started
from trainctl.track.names import cut_mark, to_mlflow
from trainctl.track.tracker import FINISHED, KILLED, Facts, MetricRecord, ValueChange, said

log = logging.getLogger(__name__)

_MOST_METRICS, _MOST_PARAMS = 1000, 100  # in one call, as the server allows
_LONGEST_PARAM, _LONGEST_TAG = 6000, 5000
_END_OF_TIME = 1e12  # in seconds; a foreign line may say anything, or NaN

_CREDENTIALS = (
    *("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
    *("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4"),
)
_CREDENTIALS_FILE = Path("~/.mlflow/credentials")

# of the client's calls while a run is open here; the environment wins
_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "15", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


def make(run: RunDir) -> MLflow:
    """Make the tracker of a run."""
    return MLflow(run)


def task_has_run() -> bool:
    """Whether a run is active in this process."""
    import mlflow

    return _active(mlflow) is not None


def has_all(run: RunDir, kept: Mapping[str, Any]) -> bool:
    """Ask the server whether the run is still there; then so is all that it was sent.

    Raises:
        TrainctlError: it is not. Whoever deleted it did so on purpose, so it is not made again unasked.
    """
    tracker = make(run)
    tracker.connect(kept)
    try:
        tracker.fetch(str(kept.get("run_id")), is_own=not kept.get("attached"))
    finally:
        tracker.close()
    return True


class MLflow:
    """Sends to the run that the task has active, else to its own, named as the run dir, in the sweep's experiment.

    Params are the config at the start, and are never changed. A metric that is sent twice is one: a server that keeps
    them in a database knows it by its value, step and time.
    """

    def __init__(self, run: RunDir) -> None:
        import mlflow

        self._library: Any = mlflow
        self._client: Any = None
        self._dir = run
        self._run = ""
        self._tags: dict[str, str] = {}
        self._owed: dict[str, str] = {}  # files that were refused
        self._limits: dict[str, str] = {}  # set in the environment by this tracker
        self.has_lost_all = False
        self.is_attached = False
        self.is_over = False  # a run that has ended takes what follows
        self._experiment = ""
        self._uri = _lasting(mlflow.get_tracking_uri())

    def open(self, facts: Facts, kept: Mapping[str, Any]) -> dict[str, Any]:
        active = self.connect(kept)
        self._run = active or kept.get("run_id") or self._find(facts, kept["key"]) or self._create(facts, kept["key"])
        self.is_attached = bool(active) or (kept.get("attached", False) and kept.get("run_id") == self._run)
        self.has_lost_all = bool(kept.get("run_id")) and kept["run_id"] != self._run  # the task has opened another
        run = self.fetch(self._run, is_own=not self.is_attached)
        self._experiment, self._tags = run.info.experiment_id, dict(run.data.tags)
        if not self.is_attached and run.info.status != "RUNNING":
            self._client.update_run(self._run, status="RUNNING")
        if kept.get("owed"):
            self._owed["changelog.yaml"] = Told(self._dir).text()
        self._tell(facts)
        if not self.is_attached:
            self._params(facts.config, set(run.data.params))
        return self.kept()

    def connect(self, kept: Mapping[str, Any]) -> str | None:
        """Make the client, of the server that a run was sent to before; return the run that the task has active.

        Raises:
            TrainctlError: that server is not known, is gone, or is not to be sent the credentials that are set.
        """
        active = net.noted("mlflow").get("run_id") or _active(self._library)
        if not active:  # else they would be those of the task's own calls
            self._limits = {name: value for name, value in _LIMITS.items() if name not in os.environ}
            os.environ.update(self._limits)
        uri = net.noted("mlflow").get("uri")
        if not active and uri is None:
            uri = _uri_of(kept, self._library)
        self._uri = _lasting(uri or self._library.get_tracking_uri())
        self._client = self._library.MlflowClient(uri)
        return active

    def fetch(self, run_id: str, *, is_own: bool) -> Any:
        """Return a run of the server; one of the task (not `is_own`) cannot be sent again as a whole.

        Raises:
            TrainctlError: it is not there, or was deleted.
        """
        again = f"remove {place_of(self._dir, 'mlflow')} to have all of it sent as a new run" if is_own else ""
        try:
            run = self._client.get_run(run_id)
        except self._library.exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            where = f"there is no run {run_id} on the server {_shown(str(self._client.tracking_uri))}"
            if not is_own:
                raise TrainctlError(f"{where}; it is the run that the task had opened itself") from error
            raise TrainctlError(f"{where}, where it was sent; {again}") from error
        if run.info.lifecycle_stage == "deleted":
            number = run.info.experiment_id
            if self._client.get_experiment(number).lifecycle_stage == "deleted":
                command = f"mlflow experiments restore --experiment-id {number}"
                raise TrainctlError(f"the experiment of its run was deleted on the server; restore it: {command}")
            command = f"mlflow runs restore --run-id {run_id}"
            otherwise = f", or {again}" if again else ""
            raise TrainctlError(f"its run was deleted on the server; restore it ({command}){otherwise}")
        return run

    def metrics(self, records: Sequence[MetricRecord]) -> None:
        self._send((record.step, record.t, record.numbers) for record in records)

    def changes(self, changes: Sequence[ValueChange]) -> None:
        """Send the series of what has one; what is not a number is a tag with a line per step, and so is each edit.

        A tag for each edited key has all its values, for a table of runs: `edited.lr` is `0.1 → 0.001 @1500`.
        """
        self._send((change.step, change.t, change.numbers) for change in changes)
        tags: dict[str, str] = {}
        for change in changes:
            for name, text in change.texts.items():
                self._add_line(tags, to_mlflow(name), f"{change.step}: {text}")
            tags |= {to_mlflow(f"edited.{key}"): text[:_LONGEST_TAG] for key, text in change.said.items()}
            if change.step:
                said = " ".join(f"{key}={yaml.inline(value)}" for key, value in change.values.items())
                self._add_line(
                    tags, f"trainctl.edit.{change.step}", f"{said}  # {change.note}" if change.note else said
                )
        self._set(tags)

    def _add_line(self, tags: dict[str, str], name: str, line: str) -> None:
        """Add a line to a tag, once; of a tag that gets too long the last lines stay."""
        before = tags.get(name, self._tags.get(name, "")).splitlines()
        line = " ".join(line.splitlines())[:_LONGEST_TAG]
        text = "\n".join([*before, *([] if line in before else [line])])
        tags[name] = text if len(text) <= _LONGEST_TAG else text[-_LONGEST_TAG:].partition("\n")[2] or line

    def _set(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        new = [RunTag(name, text) for name, text in tags.items() if self._tags.get(name) != text]
        for at in range(0, len(new), _MOST_PARAMS):
            self._client.log_batch(self._run, tags=new[at : at + _MOST_PARAMS])
        self._tags.update(tags)

    def rewind(self, step: int) -> bool:
        return False  # both are kept; what was logged later has the later time

    def changelog(self, text: str) -> None:
        self._file("changelog.yaml", text)

    def end(self, state: State, reason: str | None) -> None:
        """Say how the run ended, then send files that were refused before; a run of the task is ended by the task.

        A run of the task gets the params only now: no param can be changed, so a task that logs another value later
        would crash.
        """
        if self.is_attached:
            self._params(Told(self._dir).facts().config, set(self._client.get_run(self._run).data.params))
        self._client.set_tag(self._run, "trainctl.state", (f"{state}: {reason}" if reason else state)[:_LONGEST_TAG])
        if not self.is_attached:
            word = "FINISHED" if state in FINISHED else "KILLED" if state in KILLED else "FAILED"
            status = read_status(self._dir)
            ended = status.ended if status is not None and status.state == state else None  # else it ends just now
            self._client.set_terminated(self._run, word, None if ended is None else _milliseconds(ended))
        for name, text in list(self._owed.items()):
            self._log_file(name, text)

    def kept(self) -> dict[str, Any]:
        known = {"run_id": self._run, "attached": self.is_attached} if self._run else {}
        return {**known, **({"uri": self._uri} if self._uri else {}), **({"owed": True} if self._owed else {})}

    def address(self) -> str | None:
        uri = str(self._client.tracking_uri)
        return f"{uri}/#/experiments/{self._experiment}/runs/{self._run}" if uri.startswith("http") else uri

    def close(self) -> None:
        for name, value in self._limits.items():
            if os.environ.get(name) == value:
                del os.environ[name]
        self._limits, self._client = {}, None

    def _find(self, facts: Facts, key: str) -> str | None:
        """Return the run that an earlier process made, and was killed before it could note it."""
        experiment = self._client.get_experiment_by_name(facts.group)
        if experiment is None:
            return None
        found = self._client.search_runs([experiment.experiment_id], f"tags.`trainctl.key` = '{key}'", max_results=1)
        return str(found[0].info.run_id) if found else None

    def _create(self, facts: Facts, key: str) -> str:
        try:
            identity = self._client.create_experiment(facts.group)
        except (
            self._library.exceptions.MlflowException
        ):  # it is there, perhaps since a moment ago: another job of the sweep
            experiment = self._client.get_experiment_by_name(facts.group)
            if experiment is None:
                raise
            identity = experiment.experiment_id
        started = _milliseconds(run_started(self._dir)) or None
        run = self._client.create_run(identity, started, {"trainctl.key": key}, facts.name)
        return str(run.info.run_id)

    def _params(self, config: Mapping[str, Any], there: set[str]) -> None:
        from mlflow.entities import Param

        params = [Param(to_mlflow(key), _short(value)) for key, value in config.items()]
        params = [param for param in params if param.key not in there]
        for at in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(self._run, params=params[at : at + _MOST_PARAMS])

    def _tell(self, facts: Facts) -> None:
        tags = {"trainctl.sweep": facts.group, "trainctl.overrides": "\n".join(facts.overrides)[:_LONGEST_TAG]}
        if facts.url:
            tags["trainctl.page"] = facts.url
        self._set(tags)
        self._file("config.yaml", facts.document)

    def _file(self, name: str, text: str) -> None:
        """Send a file; a server that takes none (its artifact store is not writable, say) gets all the rest."""
        try:
            self._log_file(name, text)
        except Exception as error:  # noqa: BLE001  # of whatever store the server has chosen
            if not self._owed:
                log.warning("mlflow takes no files of this run for now: %s", said(error))
            self._owed[name] = text

    def _log_file(self, name: str, text: str) -> None:
        self._client.log_text(self._run, text, f"trainctl/{name}")
        self._owed.pop(name, None)

    def _send(self, points: Iterable[tuple[int, float, dict[str, float]]]) -> None:
        from mlflow.entities import Metric

        metrics = []
        for step, t, numbers in points:
            for key, value in numbers.items():
                name = to_mlflow(key)
                mark = cut_mark(name)
                if mark is not None:
                    self._set({f"trainctl.name.{mark}": key[:_LONGEST_TAG]})
                metrics.append(Metric(name, value, _milliseconds(t), step))
        for at in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(self._run, metrics=metrics[at : at + _MOST_METRICS])


def _active(mlflow: Any) -> str | None:
    """Return the run that some thread of this process has active: the library itself only tells of the own thread's."""
    latest = getattr(mlflow.tracking.fluent, "_get_latest_active_run", mlflow.active_run)()
    return None if latest is None else str(latest.info.run_id)


def _lasting(uri: str) -> str | None:
    """Return a URI as it means the same from any directory, to be kept; None for one with a password in it.

    >>> _lasting("http://localhost:5000"), _lasting("sqlite:////tmp/runs.db"), _lasting("http://me:pass@host")
    ('http://localhost:5000', 'sqlite:////tmp/runs.db', None)
    """
    if "@" in urlsplit(uri).netloc:
        return None
    scheme, mark, path = uri.partition("sqlite:///")
    if mark and not scheme:
        return f"{mark}{path if path.startswith('/') else os.path.abspath(path)}"
    return uri if urlsplit(uri).scheme else os.path.abspath(uri)


def _uri_of(kept: Mapping[str, Any], mlflow: Any) -> str | None:
    """Return the URI that a run was sent to; None, the URI set in this process, for a run that was not sent yet.

    A run dir may come from anywhere: credentials go to no server that only it names, and nothing is made where it says.

    Raises:
        SettingError: it is not known where the run belongs.
        TrainctlError: the place it was sent to is gone, or is a server that must not get the credentials set here.
    """
    uri, run_id, is_live = kept.get("uri"), kept.get("run_id"), bool(kept.get("live"))
    is_set = is_live or mlflow.is_tracking_uri_set()
    if is_set and (not run_id or uri is None or uri == _lasting(mlflow.get_tracking_uri())):
        return None
    if not isinstance(uri, str):
        raise SettingError("set MLFLOW_TRACKING_URI: nothing is noted of where this run is sent")
    scheme = urlsplit(uri).scheme
    if scheme in ("http", "https"):
        if any(os.environ.get(name) for name in _CREDENTIALS) or _CREDENTIALS_FILE.expanduser().exists():
            raise TrainctlError(
                f"this run was sent to {uri}; where MLflow's credentials are set it is sent there only if "
                "MLFLOW_TRACKING_URI names it too"
            )
    elif not run_id or scheme not in ("sqlite", "file", ""):
        raise SettingError(f"set MLFLOW_TRACKING_URI: this run belongs to {uri}")
    elif not _holds(uri, str(run_id)):
        raise TrainctlError(f"this run was sent to {uri}, and is not there any more")
    return uri


def _holds(uri: str, run_id: str) -> bool:
    """Whether a store on this machine has a run; MLflow itself would make the store where there is none."""
    scheme, path = urlsplit(uri).scheme, uri.removeprefix("sqlite:///").removeprefix("file://")
    if scheme != "sqlite":
        return run_id.isalnum() and any(Path(path).glob(f"*/{run_id}/meta.yaml"))
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)) as database:
            return database.execute("SELECT 1 FROM runs WHERE run_uuid = ?", [run_id]).fetchone() is not None
    except sqlite3.Error:
        return False


def _shown(uri: str) -> str:
    return uri.rpartition("@")[2]


def _milliseconds(t: float) -> int:
    return int(t * 1000) if 0 <= t < _END_OF_TIME else 0


def _short(value: Any) -> str:
    return shortened(value if isinstance(value, str) else yaml.inline(value), _LONGEST_PARAM)
