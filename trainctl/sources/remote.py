"""Sources that need their own client: read in a separate process, within a time limit.

The clients start services and threads, which a process that forks its jobs must not have, and a server may never
answer. The process is `python -m trainctl.sources.remote KIND SOURCE`; it prints one JSON document.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from typing import Any

from trainctl.config.loaded import Loaded
from trainctl.errors import SourceError
from trainctl.rundir.provenance import original_cwd

KINDS = ("mlflow", "wandb", "wandb_offline")

_SERVERS = ("WANDB_BASE_URL", "MLFLOW_TRACKING_URI")
_LIMIT_S = 60.0
_LIMIT_NAME = "TRAINCTL_FROM_TIMEOUT_S"
_MODULES = {"mlflow": "mlflow", "wandb": "wandb", "wandb_offline": "wandb"}


def read(source: str, kind: str) -> Loaded:
    """Read `KIND/PLACE` in a process of its own, which is ended after 60 s (`TRAINCTL_FROM_TIMEOUT_S`).

    What was read is kept for this process: Hydra composes a config several times.

    Raises:
        SourceError: it cannot be reached, is not there, or the client is not installed.
    """
    servers = tuple((name, os.environ[name]) for name in _SERVERS if name in os.environ)
    return _read(source, kind, str(original_cwd()), _limit_s(), servers)


@functools.lru_cache(maxsize=64)
def _read(source: str, kind: str, cwd: str, limit_s: float, servers: tuple[tuple[str, str], ...]) -> Loaded:
    path = os.pathsep.join(each for each in sys.path if each)
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, kind, source],
        cwd=cwd,
        env={**os.environ, **dict(servers), "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        answer, said = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise SourceError(
            f"+from={source}: no answer within {limit_s:g} s, nothing was loaded; {_LIMIT_NAME} gives it more"
        ) from None
    finally:
        _end(process)
    return _loaded(source, answer, said)


def _loaded(source: str, answer: str, said: str) -> Loaded:
    try:
        record: dict[str, Any] = json.loads(answer)
    except ValueError:
        reason = (said.strip().splitlines() or ["its process was killed"])[-1]
        raise SourceError(f"+from={source} cannot be read: {reason}") from None
    if "error" in record:
        raise SourceError(record["error"])
    return Loaded.from_dict(record)


def _limit_s() -> float:
    given = os.environ.get(_LIMIT_NAME)
    try:
        limit_s = _LIMIT_S if given is None else float(given)
    except ValueError:
        limit_s = 0.0
    if not 0 < limit_s <= 86_400:
        raise SourceError(f"{_LIMIT_NAME}={given!r} is not a number of seconds, more than 0 and at most a day")
    return limit_s


def _end(process: subprocess.Popen[str]) -> None:
    """Kill the process with all that the client has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # all of them are gone
    except PermissionError:
        process.kill()  # macOS: the group has only a zombie left
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def main() -> None:
    """Read the source that the command line names; an error is an answer too."""
    kind, source = sys.argv[1:]
    answer = os.dup(1)
    os.dup2(2, 1)  # clients print to it
    record = _answer(kind, source)
    with os.fdopen(answer, "w", encoding="utf-8") as file:
        json.dump(record, file)
    sys.stdout.flush()
    os._exit(0)  # the clients' work at exit is of no use, and may take long


def _answer(kind: str, source: str) -> dict[str, Any]:
    try:
        try:
            if kind == "mlflow":
                from trainctl.sources.mlflow import read_mlflow as read
            elif kind == "wandb":
                from trainctl.sources.wandb import read_wandb as read
            else:
                from trainctl.sources.wandb import read_wandb_offline as read
        except ImportError as error:
            raise SourceError(
                f"+from={source} needs {_MODULES[kind]}, which cannot be imported ({error}); "
                f"install hydra-trainctl[{_MODULES[kind]}]"
            ) from error
        loaded: Loaded = read(source, source.partition("/")[2])
    except SourceError as error:
        return {"error": str(error)}
    return loaded.to_dict()


if __name__ == "__main__":
    main()
