"""Checking quickly whether a server is reachable, and tracker runs that the task's loggers have opened."""

from __future__ import annotations

import socket
import sys
from urllib.parse import urlsplit
from urllib.request import getproxies


def check_reachable(url: str, timeout_s: float) -> None:
    """Connect to the server of a URL and hang up; through a proxy nothing can be found out.

    Raises:
        OSError: nobody listens there.
    """
    if not getproxies():
        address = urlsplit(url)
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname or "", port), timeout=timeout_s).close()


_opened: dict[str, dict[str, str]] = {}


def note(tracker: str, **place: str) -> None:
    """Note that this process has a run open on a tracker; trainctl then sends to it instead of opening another."""
    _opened[tracker] = place


def noted(tracker: str) -> dict[str, str]:
    """Return where this process has a run open on a tracker; empty if none was noted."""
    return _opened.get(tracker, {})


def place_in_environment() -> dict[str, str]:
    """Return what another process needs to send to the MLflow server that this one sends to."""
    mlflow = sys.modules.get("mlflow")
    uri = noted("mlflow").get("uri") or (str(mlflow.get_tracking_uri()) if mlflow is not None else None)
    return {} if uri is None else {"MLFLOW_TRACKING_URI": uri}


def forget() -> None:
    """Forget all that was noted: the run of this process has ended."""
    _opened.clear()
