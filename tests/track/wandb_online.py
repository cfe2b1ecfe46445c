"""A stand-in for a W&B server that runs are sent to: it keeps what it is sent as W&B does, can die and come back."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from wandb_server import KEY, Server, serving

from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.track.sync import Synced, sync

Start = Callable[..., "subprocess.Popen[str]"]

_STREAM = re.compile(r"/files/ada/([^/]+)/([^/]+)/file_stream")
_HISTORY = "wandb-history.jsonl"
_NAMES = {"displayName": "display_name", "groupName": "group", "project": "project"}


@dataclass
class Sent:
    """What the server has of a run."""

    display_name: str = ""
    group: str = ""
    project: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    lines: dict[int, str] = field(default_factory=dict)  # a line that is sent again takes the place of the first
    files: dict[str, str] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_codes: list[int] = field(default_factory=list)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The history without W&B's own columns."""
        assert sorted(self.lines) == list(range(len(self.lines))), "a gap in the history"
        lines = [json.loads(self.lines[number]) for number in sorted(self.lines)]
        return [{key: value for key, value in line.items() if not key.startswith("_")} for line in lines]

    @property
    def steps(self) -> Counter[int]:
        """How often there is a loss of each step."""
        return Counter(row["trainctl/step"] for row in self.rows if "loss" in row)


class WandbOnline:
    """Runs by their id, on a port that stays the same when the server is stopped and started again."""

    def __init__(self) -> None:
        self.runs: dict[str, Sent] = {}
        self.requests: list[str] = []
        self.lock = threading.Lock()
        self.loses_answers = False
        self._stack = ExitStack()
        self._place = held_port()
        self._port: int = self._place.getsockname()[1]
        self.hears = threading.Event()  # cleared: no call is answered
        self.hears.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def run(self) -> Sent:
        """The only run that there is."""
        with self.lock:
            (run,) = self.runs.values()
            return run

    @property
    def environment(self) -> dict[str, str]:
        """What makes the client send here, each second, and try again as soon."""
        names = ("TRANSMIT_INTERVAL", "RETRY_WAIT_MIN_SECONDS", "RETRY_WAIT_MAX_SECONDS")
        often = {f"WANDB__FILE_STREAM_{name}": "1" for name in names}
        key = {"WANDB_MODE": "online", "WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}
        return {**key, **often, "WANDB_ERROR_REPORTING": "false"}

    def start(self) -> None:
        self._server = _Receiver(self, self._port)
        self._server.silence = self.hears
        self._stack.enter_context(serving(self._server))

    def stop(self) -> None:
        self._server.is_stopped = True
        self._stack.close()

    def close(self) -> None:
        """Give the port back."""
        self._place.close()


class _Receiver(Server):
    def __init__(self, kept: WandbOnline, port: int) -> None:
        super().__init__(port)
        self._kept = kept
        self.is_stopped = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any] | None:
        found = re.search(r"(?:query|mutation) (\w+)", query)
        name = found[1] if found else ""
        method = {
            "RunResumeStatus": self._resume,
            "UpsertBucket": self._upsert,
            "CreateRunFiles": self._places,
        }.get(name)
        with self._receiving(name):
            return method(variables) if method else super().answer(query, variables)

    def take(self, path: str, content: bytes) -> bytes:
        with self._receiving(path):
            if stream := _STREAM.fullmatch(path):
                self._stream(self._kept.runs[stream[2]], json.loads(content))
                if self._kept.loses_answers:
                    raise ConnectionAbortedError
            elif path.startswith("/put/"):
                _, _, key, name = path.split("/", 3)
                self._kept.runs[key].files[name] = content.decode()
        return b"{}"

    @contextmanager
    def _receiving(self, what: str) -> Iterator[None]:
        with self._kept.lock:
            if self.is_stopped:
                raise ConnectionAbortedError
            self._kept.requests.append(what)
            yield

    def _stream(self, run: Sent, sent: dict[str, Any]) -> None:
        chunk = sent.get("files", {}).get(_HISTORY, {"offset": 0, "content": []})
        run.lines.update(enumerate(chunk["content"], chunk["offset"]))
        for line in sent.get("files", {}).get("wandb-summary.json", {"content": []})["content"]:
            run.summary = json.loads(line)
        if sent.get("complete"):
            run.exit_codes.append(sent["exitcode"])

    def _upsert(self, asked: dict[str, Any]) -> dict[str, Any]:
        is_new = asked["name"] not in self._kept.runs
        run = self._kept.runs.setdefault(asked["name"], Sent())
        for name, attribute in _NAMES.items():
            if asked[name] is not None:
                setattr(run, attribute, asked[name])
        if asked["config"] is not None:
            run.config = {key: one["value"] for key, one in json.loads(asked["config"]).items()}
        project = {"id": "p", "name": run.project, "entity": {"id": "e", "name": "ada"}}
        bucket = {**self._bucket(asked["name"], run), "description": "", "sweepName": None, "project": project}
        return {"upsertBucket": {"bucket": bucket, "inserted": is_new}}

    def _resume(self, asked: dict[str, Any]) -> dict[str, Any]:
        run = self._kept.runs.get(asked["name"])
        bucket = run and self._bucket(asked["name"], run)
        entity = {"id": "e", "name": "ada"}
        return {"model": {"id": "p", "name": asked["project"], "entity": entity, "bucket": bucket}}

    def _bucket(self, key: str, run: Sent) -> dict[str, Any]:
        last = [run.lines[max(run.lines)]] if run.lines else []
        config = {name: {"value": value} for name, value in run.config.items()}
        texts = {"summaryMetrics": run.summary, "historyTail": last, "eventsTail": [], "config": config}
        return {
            **{name: json.dumps(value) for name, value in texts.items()},
            "id": key,
            "name": key,
            "displayName": run.display_name,
            "historyLineCount": len(run.lines),
            "eventsLineCount": 0,
            "logLineCount": 0,
            "tags": [],
            "notes": None,
            "wandbConfig": json.dumps(run.config.get("_wandb", {})),
        }

    def _places(self, asked: dict[str, Any]) -> dict[str, Any]:
        places = [{"name": name, "uploadUrl": f"{self.url}/put/{asked['run']}/{name}"} for name in asked["files"]]
        return {"createRunFiles": {"runID": asked["run"], "uploadHeaders": [], "files": places}}


def held_port() -> socket.socket:
    """Take a port that nobody else is given while this socket is open; a server with SO_REUSEADDR may listen there."""
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind(("127.0.0.1", 0))
    return place


def logged(run: RunDir) -> Counter[int]:
    """Return how often each step is in the run dir."""
    return Counter(one["step"] for one in files.read_lines(run.metrics))


def synced(run: RunDir) -> Synced:
    """Sync a run with W&B, from this process."""
    (done,) = sync(run, ["wandb"])
    return done
