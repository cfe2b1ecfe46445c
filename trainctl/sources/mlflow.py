"""The config of an MLflow run: the record that trainctl has left there, else its params."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
from mlflow.tracking import MlflowClient

from trainctl.config.keys import nested
from trainctl.config.loaded import Loaded
from trainctl.config.values import literal
from trainctl.sources.files import FILES, read_record, read_text, unread

# of MLflow's own client; the environment wins
_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "15", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


def read_mlflow(source: str, place: str) -> Loaded:
    """Read the run with this id, from the server of `MLFLOW_TRACKING_URI`; a param `optim.lr` or `optim/lr` is nested.

    Raises:
        SourceError: the server does not answer, or has no such run.
    """
    for name, value in _LIMITS.items():
        os.environ.setdefault(name, value)
    uri = mlflow.get_tracking_uri()
    try:
        client = MlflowClient()
        params = dict(client.get_run(place).data.params)
        texts = _download(client, place)
    except Exception as error:
        raise unread(source, f"run {place} cannot be read from {uri}", error) from error
    origin = f"run {place} on {uri}"
    record = read_record(source, origin, texts)
    if record is not None:
        return record
    values = nested({key.replace("/", "."): literal(text) for key, text in params.items()}, f"+from={source}")
    return Loaded(source, origin, values, form="text", is_record=True)


def _download(client: MlflowClient, run_id: str) -> dict[str, str]:
    """Return the texts of the artifacts that trainctl left there, by name."""
    folder = FILES[0].rpartition("/")[0]
    there = [each for each in client.list_artifacts(run_id, folder) if each.path in FILES]
    with TemporaryDirectory() as directory:
        return {
            each.path: read_text(Path(client.download_artifacts(run_id, each.path, directory)), run_id)
            for each in there
        }
