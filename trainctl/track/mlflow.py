"""MLflow: a run on a tracking server, by its client."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainctl.config import yaml
from trainctl.run import opened
from trainctl.run.rundir import RunDir
from trainctl.run.status import State
from trainctl.track.names import cut_mark, to_mlflow
from trainctl.track.tracker import FINISHED, KILLED, Change, Facts, Record

_MOST_METRICS, _MOST_PARAMS = 1000, 100  # in one call, as the server allows
_LONGEST_PARAM, _LONGEST_TAG = 6000, 5000

# of the client's calls; what the environment says wins
_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "15", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


def make(_run: RunDir) -> MLflow:
    """Make the tracker of a run."""
    return MLflow()


class MLflow:
    """Sends to the run that the task has active, else to its own, named as the run dir, in the sweep's experiment.

    Params are the config at the start, and are never changed. A metric that is sent twice is one: a server that keeps
    them in a database knows it by its value, step and time.
    """

    knows_itself = False

    def __init__(self) -> None:
        import mlflow

        self._library: Any = mlflow
        self._client: Any = None
        self._run = ""
        self._attached = False
        self._experiment = ""
        self._cut: set[str] = set()  # names whose whole keys were told

    def open(self, facts: Facts, kept: Mapping[str, Any]) -> dict[str, Any]:
        for name, value in _LIMITS.items():
            os.environ.setdefault(name, value)
        self._client = self._library.MlflowClient(opened.noted("mlflow").get("uri"))
        active = opened.noted("mlflow").get("run_id") or _active(self._library)
        self._run = active or kept.get("run_id") or self._find(facts, kept["key"]) or self._create(facts, kept["key"])
        self._attached = bool(active) or (kept.get("attached", False) and kept.get("run_id") == self._run)
        run = self._client.get_run(self._run)
        self._experiment = run.info.experiment_id
        if not self._attached and run.info.status != "RUNNING":
            self._client.update_run(self._run, status="RUNNING")
        self._tell(facts, set(run.data.params))
        return self.kept()

    def metrics(self, records: Sequence[Record]) -> None:
        self._send((record.step, record.t, record.numbers) for record in records)

    def changes(self, changes: Sequence[Change]) -> None:
        """Send the series of what has one, and each edit as a tag: notes, and values that are no numbers."""
        self._send((change.step, change.t, change.numbers) for change in changes)
        for change in changes:
            if change.step:
                said = " ".join(f"{key}={yaml.inline(value)}" for key, value in change.values.items())
                text = f"{said}  # {change.note}" if change.note else said
                self._client.set_tag(self._run, f"trainctl.edit.{change.step}", text[:_LONGEST_TAG])

    def rewind(self, step: int) -> bool:
        return False  # both are kept; what was logged later has the later time

    def changelog(self, text: str) -> None:
        self._client.log_text(self._run, text, "trainctl/changelog.yaml")

    def end(self, state: State, reason: str | None) -> None:
        """Say how the run ended; a run of the task is ended by the task."""
        self._client.set_tag(self._run, "trainctl.state", (f"{state}: {reason}" if reason else state)[:_LONGEST_TAG])
        if not self._attached:
            word = "FINISHED" if state in FINISHED else "KILLED" if state in KILLED else "FAILED"
            self._client.set_terminated(self._run, word)

    def kept(self) -> dict[str, Any]:
        return {"run_id": self._run, "attached": self._attached}

    def address(self) -> str | None:
        uri = str(self._client.tracking_uri)
        return f"{uri}/#/experiments/{self._experiment}/runs/{self._run}" if uri.startswith("http") else uri

    def close(self) -> None:
        self._client = None

    def _find(self, facts: Facts, key: str) -> str | None:
        """Return a run that we made and were killed before we noted it."""
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
        return str(self._client.create_run(identity, run_name=facts.name, tags={"trainctl.key": key}).info.run_id)

    def _tell(self, facts: Facts, there: set[str]) -> None:
        from mlflow.entities import Param, RunTag

        params = [Param(to_mlflow(key), _short(value)) for key, value in facts.config.items()]
        params = [param for param in params if param.key not in there]
        tags = {"trainctl.sweep": facts.group, "trainctl.overrides": "\n".join(facts.overrides)[:_LONGEST_TAG]}
        if facts.url:
            tags["trainctl.page"] = facts.url
        for at in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(self._run, params=params[at : at + _MOST_PARAMS])
        self._client.log_batch(self._run, tags=[RunTag(name, text) for name, text in tags.items()])
        self._client.log_text(self._run, facts.document, "trainctl/config.yaml")

    def _send(self, points: Iterable[tuple[int, float, dict[str, float]]]) -> None:
        from mlflow.entities import Metric

        metrics = []
        for step, t, numbers in points:
            for key, value in numbers.items():
                name = to_mlflow(key)
                mark = cut_mark(name)
                if mark is not None and mark not in self._cut:
                    self._client.set_tag(self._run, f"trainctl.name.{mark}", key[:_LONGEST_TAG])
                    self._cut.add(mark)
                metrics.append(Metric(name, value, int(t * 1000), step))
        for at in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(self._run, metrics=metrics[at : at + _MOST_METRICS])


def _active(mlflow: Any) -> str | None:
    """Return the run that some thread of this process has active: the library itself only tells of the own thread's."""
    latest = getattr(mlflow.tracking.fluent, "_get_latest_active_run", mlflow.active_run)()
    return None if latest is None else str(latest.info.run_id)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else yaml.inline(value)
    return text if len(text) <= _LONGEST_PARAM else f"{text[: _LONGEST_PARAM - 1]}…"
