"""A browser's worth of websocket without a browser: it enters, gets a page, and works its widgets by Bokeh's protocol.

The page's own models are not rebuilt here (their code is the browser's): widgets are known by the JSON that is sent.
"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import unescape
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

PATIENCE_S = 240.0


@dataclass
class Session:
    """One open page.

    Attributes:
        models: the plain attributes of each of its models by id, kept up to date.
        owners: the component of the browser that shows a widget, by the widget's id.
    """

    connection: WebSocketClientConnection
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    last: str = ""

    @classmethod
    async def open(cls, base: str, path: str, headers: dict[str, str], *, follows: bool = True) -> Session:
        """Get a page at a path below `base` and open its websocket, as a browser does; `follows` a run that trains."""
        answer = await AsyncHTTPClient().fetch(HTTPRequest(base + path, headers=headers, request_timeout=PATIENCE_S))
        found = re.search(r'"token":\s*"([\w.-]+)"', answer.body.decode())
        assert found is not None, "the page holds no session"
        origin = "/".join(base.split("/")[:3])
        address = f"{base.replace('http', 'ws', 1)}{path.partition('?')[0]}{'/' if path else ''}ws"
        request = HTTPRequest(address, headers={**headers, "Origin": origin}, request_timeout=PATIENCE_S)
        connection = await websocket_connect(request, subprotocols=["bokeh", found[1]], max_message_size=64 * 2**20)
        session = cls(connection)
        assert (await session.receive())["msgtype"] == "ACK"
        await session.send("PULL-DOC-REQ", {})
        await session.until(lambda: bool(session.models), "the page's document")
        if not follows:
            return session
        # what the page's own script says once it is drawn: only now does it begin to follow its run
        drawn = session.text()
        await session.event("document_ready")
        await session.until(lambda: session.text() != drawn, "a page that follows its run")
        return session

    async def send(self, kind: str, content: dict[str, Any]) -> None:
        for part in ({"msgid": uuid.uuid4().hex, "msgtype": kind}, {}, content):
            await self.connection.write_message(json.dumps(part))

    async def patch(self, events: list[dict[str, Any]]) -> None:
        """Tell the server what a person did."""
        await self.send("PATCH-DOC", {"events": events})

    async def event(self, name: str, **values: Any) -> None:
        told = {"type": "event", "name": name, "values": {"type": "map", "entries": list(values.items())}}
        await self.patch([{"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": told}])

    async def click(self, widget: str) -> None:
        await self.event("dom_event", model={"id": self.owners[widget]}, node="click", data={"type": "map"})

    async def set(self, model: str, **values: Any) -> None:
        """Change attributes of a model, as its widget does."""
        self.models[model].update(values)
        await self.patch(
            [{"kind": "ModelChanged", "model": {"id": model}, "attr": name, "new": new} for name, new in values.items()]
        )

    async def receive(self) -> dict[str, Any]:
        """Take one message and what it says of models."""
        parts = [await asyncio.wait_for(self.connection.read_message(), PATIENCE_S) for _ in range(3)]
        assert parts[0] is not None, "the server has closed the connection"
        header, _, content = (json.loads(part or "{}") for part in parts)
        for _ in range(2 * header.get("num_buffers", 0)):
            await self.connection.read_message()
        self._learn(content)
        return dict(header)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Take messages until something holds."""

        async def wait() -> None:
            while not condition():
                await self.receive()

        try:
            await asyncio.wait_for(wait(), PATIENCE_S)
        except asyncio.TimeoutError:
            raise AssertionError(f"{what}: not within {PATIENCE_S} s; the page says {self.text()}") from None

    def find(self, **wanted: Any) -> str:
        """Return the model that has these attributes."""
        found = [model for model, attributes in self.models.items() if wanted.items() <= attributes.items()]
        assert len(found) == 1, f"{len(found)} models with {wanted}"
        return found[0]

    def keys(self) -> str:
        """Return the model of the run's keys."""
        return next(model for model, attributes in self.models.items() if "lines" in attributes)

    def bar(self) -> str:
        """Return the model of the bar that has the button Apply."""
        states = {model: attributes.get("state") for model, attributes in self.models.items()}
        return next(model for model, state in states.items() if isinstance(state, dict) and "apply" in state)

    def _is_shut(self, bar: str, name: str) -> bool:
        """Whether a button of a bar cannot be pressed."""
        shown = self.models[bar]["state"][name]
        return bool((dict(shown["entries"]) if "entries" in shown else shown)["disabled"])

    @property
    def is_open(self) -> bool:
        """Whether the page takes edits of the run's keys; a model leaves out what is as it is by default."""
        return bool(self.models[self.keys()].get("state", {}).get("is_open"))

    def lines(self) -> list[dict[str, Any]]:
        """Return what the page says of each key."""
        found: list[dict[str, Any]] = json.loads(self.models[self.keys()]["lines"])
        return [line for line in found if "key" in line]

    def text(self) -> str:
        """Return all that is written in panes of HTML."""
        return "\n".join(unescape(str(attributes.get("text", ""))) for attributes in self.models.values())

    async def edit(self, label: str, text: str) -> str:
        """Type into a field, press Apply, and return what the page answers."""
        tree, bar = self.keys(), self.bar()
        assert self.is_open, f"{label} cannot be edited"
        key = next(line["key"] for line in self.lines() if line["label"] == label)
        texts = {"type": "map", "entries": [[key, text]]}
        data = {"type": "map", "entries": [["serial", 1], ["texts", texts]]}
        await self.event("data_event", model={"id": self.owners[tree]}, data=data)
        await self.until(lambda: not self._is_shut(bar, "apply"), "a pending edit")
        pressed = {"type": "map", "entries": [["values", {"type": "map", "entries": []}], ["pressed", "apply"]]}
        await self.event("data_event", model={"id": self.owners[bar]}, data=pressed)
        await self.until(lambda: self._is_shut(bar, "apply"), "the edit is asked for")
        await self.until(lambda: bool(self._answers(label)), "an answer")
        self.last = self._answers(label)[-1]
        return self.last

    def _answers(self, label: str) -> list[str]:
        """Return what was answered since the last answer: that one may still stand there."""
        answer = rf'<div role="status"[^>]*><b class="mono">[^<]*{label}</b> (applied at step [\d,]*\d|rejected[^<]*)'
        return [text for text in re.findall(answer, self.text()) if text != self.last]

    def close(self) -> None:
        self.connection.close()

    def _learn(self, content: Any) -> None:
        for part in _parts(content):
            if "id" in part and "attributes" in part:
                self.models.setdefault(part["id"], {}).update(_flat(part["attributes"]))
                if isinstance(shown := part["attributes"].get("data"), dict) and "id" in shown:
                    self.owners[shown["id"]] = part["id"]
            elif part.get("kind") == "ModelChanged" and part["model"]["id"] in self.models:
                self.models[part["model"]["id"]].update(_flat({part["attr"]: part["new"]}))


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _parts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _parts(inner)


def _flat(attributes: dict[str, Any]) -> dict[str, Any]:
    maps = {
        name: dict(value.get("entries", []))
        for name, value in attributes.items()
        if isinstance(value, dict) and value.get("type") == "map"
    }
    return {name: value for name, value in attributes.items() if not isinstance(value, (dict, list))} | maps
