"""A stand-in for a W&B server, for tests: it answers the few GraphQL calls that reading one run makes."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789abcdef0123456789abcdef01234567"


class Server(ThreadingHTTPServer):
    """Knows the runs `ada/digits/NAME` by name: their configs, and their files as texts."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Answers)
        self.configs: dict[str, dict[str, Any]] = {}
        self.files: dict[str, dict[str, str]] = {}
        self.operations: list[str] = []
        self.silence = threading.Event()  # cleared: no call is answered
        self.silence.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any] | None:
        """Return the data of a call; None for one that this server does not know."""
        if "viewer" in query:
            return {"viewer": {"id": "1", "entity": "ada", "username": "ada", "flags": "{}", "teams": {"edges": []}}}
        is_known = (variables.get("entity"), variables.get("project")) == ("ada", "digits")
        name = variables.get("name")
        if "query RunFiles(" in query:
            return {"project": {"internalId": "1", "run": self._files_of(str(name), variables["fileNames"])}}
        if "query Run(" in query:
            found = self.configs.get(str(name)) if is_known else None
            return {"project": {"run": None if found is None else self._run_of(str(name), found)}}
        return None

    def take(self, path: str, content: bytes) -> bytes:
        """Return the answer to what is no GraphQL call: the client's own telemetry, and what is put there."""
        return b""

    def _run_of(self, name: str, config: dict[str, Any]) -> dict[str, Any]:
        # as W&B keeps a config: JSON in which 1.0 is 1 and NaN is null, each value in an object
        wrapped = {"_wandb": {"value": {"cli_version": "0"}}, **{key: {"value": config[key]} for key in config}}
        run = {"id": "x", "projectId": "1", "name": name, "displayName": name, "state": "finished", "tags": []}
        texts = {"config": json.dumps(wrapped), "summaryMetrics": "{}", "systemMetrics": "{}"}
        return {
            **run,
            **texts,
            "sweepName": None,
            "historyLineCount": 0,
            "historyKeys": {},
            "user": {"name": "Ada", "username": "ada"},
        }

    def _files_of(self, name: str, names: list[str]) -> dict[str, Any]:
        files = {each: text for each, text in self.files.get(name, {}).items() if each in names}
        nodes = [
            {
                "id": each,
                "name": each,
                "url": f"{self.url}/files/{name}/{each}",
                "directUrl": f"{self.url}/files/{name}/{each}",
                "sizeBytes": len(text.encode()),
                "mimetype": "text/yaml",
                "updatedAt": "2026-01-01T00:00:00",
                "md5": "",
            }
            for each, text in files.items()
        ]
        edges = [{"node": node, "cursor": node["name"]} for node in nodes]
        return {
            "fileCount": len(nodes),
            "files": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}},
        }


class _Answers(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.silence.wait()
        if self.path != "/graphql":
            return self._send(self.server.take(self.path, body))
        call = json.loads(body)
        self.server.operations += re.findall(r"(?:query|mutation) \w+", call["query"])
        data = self.server.answer(call["query"], call.get("variables") or {})
        problem = {"errors": [{"message": "no such field"}]}
        return self._send(json.dumps(problem if data is None else {"data": data}).encode())

    do_PUT = do_POST

    def do_GET(self) -> None:
        _, _, rest = self.path.partition("/files/")
        run, _, name = rest.partition("/")
        self._send(self.server.files[run][name].encode())

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving(given: Server | None = None) -> Iterator[Server]:
    """Serve on a port of loopback."""
    server = given or Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.silence.set()
        server.shutdown()
        server.server_close()
        thread.join(60)
