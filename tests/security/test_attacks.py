"""Too much, too large, and from outside: limits of requests and messages, every parameter as a way out of the root."""

from __future__ import annotations

import asyncio
import dataclasses
import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from test_gate import UPGRADE, Client, client
from tornado.httpclient import HTTPRequest
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError, websocket_connect

from trainctl.config.changelog import Changelog, Edit, dumps
from trainctl.config.controls import Key
from trainctl.panel.auth import gate
from trainctl.panel.auth.access import Access, Admission, refuse
from trainctl.panel.auth.gate import Gate
from trainctl.panel.data.run_view import RunRow, RunView
from trainctl.panel.data.watcher import Watcher
from trainctl.panel.server._bokeh import MAX_MESSAGE
from trainctl.panel.server.app import MAX_BODY, MAX_HEADER
from trainctl.panel.server.limits import Bucket
from trainctl.panel.widgets import ansi, config, requests, summary
from trainctl.panel.widgets.bulk import Bulk
from trainctl.panel.widgets.requests import Asking
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, write_status
from trainctl.rundir.summary import Summary

__all__ = ["client"]

TAG = "<script>window.pwned=1</script>"
OUTSIDE = "outside-of-the-root"
PATHS = [
    "../secret",
    "..%2fsecret",
    "/etc/passwd",
    "//etc/passwd",
    "....//secret",
    "a/../../secret",
    "secret\0.yaml",
    ".",
]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A root beside a run that is none of its business, with links that lead there."""
    other = RunDir.at(tmp_path / "secret")
    other.create()
    other.run.write_text(f"name: {OUTSIDE}\n")
    other.status.write_text("state: done\n")
    root = tmp_path / "root"
    root.mkdir()
    mine = RunDir.at(root / "mine")
    mine.create()
    mine.run.write_text("name: mine\n")
    (root / "linked").symlink_to(other.path)
    (root / "up").symlink_to(tmp_path)
    return root


@pytest.mark.parametrize("name", [*PATHS, "linked", "up", "up/secret", "mine/../linked", "mine/.."])
def test_name_of_a_run_leads_nowhere_else(root: Path, name: str) -> None:
    watcher = Watcher(root)
    assert set(watcher.rows()) == {"mine"}
    for found in (watcher.view(name), watcher.fresh_view(name), watcher.curves(name)):
        assert found is None
    assert watcher.view("mine") is not None


@pytest.mark.slow
@pytest.mark.parametrize("argument", ["a", "b", "runs", "metric", "tab", "filter", "file", "state", "group"])
def test_arguments_of_a_page_show_nothing_of_elsewhere(client: Client, argument: str) -> None:
    (client.root.parent / f"{argument}-secret").write_text(OUTSIDE)
    for path in (f"../{argument}-secret", str(client.root.parent / f"{argument}-secret"), "/etc/passwd"):
        for page in ("", "compare", "run/no-run"):
            status, _, body = client.ask(f"{page}?{argument}={quote(path, safe='')}", client.bearer)
            assert status == 200
            assert OUTSIDE not in body
            assert "root:x:" not in body


@pytest.mark.parametrize("route", ["static/extensions/panel/{}", "static/{}", "components/panel.x/{}", "run/{}"])
@pytest.mark.parametrize("path", ["../../../../../../etc/passwd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "%2fetc%2fpasswd"])
def test_paths_in_urls_lead_to_no_file_outside(client: Client, route: str, path: str) -> None:
    _, _, body = client.ask(route.format(path), client.bearer)
    assert "root:x:" not in body


@pytest.mark.parametrize("route", ["ws", "run/x/ws", "compare/ws"])
def test_websocket_of_every_page_keeps_to_the_allow_lists(client: Client, route: str) -> None:
    cookie = client.cookie
    assert client.status(route, {**UPGRADE, **client.origin}) == 403
    assert client.status(route, {**UPGRADE, **client.origin, "Cookie": cookie["Cookie"] + "x"}) == 403
    assert client.status(route, {**UPGRADE, **cookie}) == 403
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"http://{client.host}.evil.example"):
        assert client.status(route, {**UPGRADE, **cookie, "Origin": origin}) == 403
        assert client.status(route, {**UPGRADE, **client.bearer, "Origin": origin}) == 403
    for host in ("evil.example", f"evil.example:{client.host.rpartition(':')[2]}"):
        assert client.status(route, {**UPGRADE, **cookie, **client.origin, "Host": host}) == 421


def test_large_body_and_large_headers_are_refused(client: Client) -> None:
    connection = http.client.HTTPConnection(client.host, timeout=240)
    connection.putrequest("POST", f"/{client.prefix}/", skip_accept_encoding=True)
    connection.putheader("Content-Length", str(MAX_BODY + 1))
    for name, value in client.bearer.items():
        connection.putheader(name, value)
    connection.endheaders()
    try:
        status = connection.getresponse().status
    except (ConnectionError, http.client.HTTPException):
        status = 0  # closed at once
    finally:
        connection.close()
    assert status in (0, 400, 413)
    with socket.create_connection(tuple(client.host.split(":")), timeout=240) as plain:  # type: ignore[arg-type]
        head = f"GET /{client.prefix}/ HTTP/1.1\r\nHost: {client.host}\r\nAuthorization: Bearer {client.token}\r\n"
        answer = b""
        try:
            plain.sendall(f"{head}X-Long: {'x' * (2 * MAX_HEADER)}\r\n\r\n".encode())
            answer = plain.recv(100)
        except ConnectionError:
            pass  # closed before all of it was sent
        assert b" 200 " not in answer


def test_large_message_closes_the_websocket(client: Client) -> None:
    async def is_closed() -> bool:
        url = f"ws://{client.host}/{client.prefix}/ws"
        request = HTTPRequest(url, headers={**client.cookie, **client.origin}, request_timeout=240)
        connection = await websocket_connect(request, subprotocols=["bokeh", "x"])
        try:
            await connection.write_message("x" * (MAX_MESSAGE + 1))
            return await asyncio.wait_for(connection.read_message(), 240) is None
        except WebSocketClosedError:
            return True  # before all of it was sent
        finally:
            connection.close()

    assert asyncio.run(is_closed())
    assert client.status("", client.bearer) == 200  # for the others it goes on


class Judge(Access):
    """Admits all, or nobody."""

    verdict = Admission("admit", role="editor")

    def judge(self, request: Any) -> Any:
        return self.verdict


class Asked:
    """What tornado hands over, as far as the gate looks at it."""

    method, path, query, remote_ip = "GET", "/p/", "", "127.0.0.1"

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.cookies: dict[str, str] = {}


def test_strangers_cannot_use_up_the_turns_of_those_who_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MOST_AT_ONCE", 3)
    monkeypatch.setattr(gate, "MOST_PER_S", 0)
    monkeypatch.setattr(gate, "STRANGERS_AT_ONCE", 2)
    monkeypatch.setattr(gate, "STRANGERS_PER_S", 0)
    application = Application([(r".*", RequestHandler)])
    judge = Judge("token", "p", frozenset({"127.0.0.1:1"}))
    door = Gate(application, judge)
    given: list[int] = []
    monkeypatch.setattr(
        door._doorman,
        "get_handler_delegate",
        lambda request, handler, options: given.append(options["verdict"].status),
    )
    monkeypatch.setattr(application, "find_handler", lambda request: given.append(200))
    monkeypatch.setattr(Judge, "verdict", refuse(403, "no"))
    for _ in range(4):
        door.find_handler(Asked())  # type: ignore[arg-type]  # as far as it is looked at
    monkeypatch.setattr(Judge, "verdict", Admission("admit", role="editor"))
    for _ in range(4):
        door.find_handler(Asked())  # type: ignore[arg-type]
    assert given == [403, 403, 429, 429, 200, 200, 200, 429]


def test_page_that_asks_too_often_is_told_so_and_files_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "Bucket", lambda size, per_s: Bucket(2, 0.0))
    run = RunDir.at(tmp_path)
    run.create()
    row = RunRow.of(run)
    monkeypatch.setattr(type(row.summary), "state", "running", raising=False)
    view = RunView(row)
    page = Asking(may_ask=True)
    for _ in range(3):
        page.ask(view, "lr", texts={"lr": "1"})
    assert len(list(run.inbox.iterdir())) == 2
    assert "rejected: too many requests from this page; wait a moment" in page.lines()


def test_many_clicks_for_many_runs_share_one_allowance_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "Bucket", lambda size, per_s: Bucket(2, 0.0))
    monkeypatch.setattr(RunView, "is_editable", True)
    views = {}
    for name in ("a", "b"):
        run = RunDir.at(tmp_path / name)
        run.create()
        views[name] = RunView(RunRow.of(run))
    monkeypatch.setattr(Summary, "state", "running")
    bulk = Bulk(SimpleNamespace(view=views.get, fresh_view=views.get), may_ask=True)  # type: ignore[arg-type]
    bulk.choose(list(views))
    for _ in range(4):
        bulk._pressed("pause")
    assert [len(list(view.row.summary.run.inbox.iterdir())) for view in views.values()] == [2, 2]


def test_edit_of_many_runs_can_be_forced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDir.at(tmp_path)
    run.create()
    view = dataclasses.replace(RunView(RunRow.of(run)), keys={"lr": Key("float")})
    monkeypatch.setattr(RunView, "is_editable", True)
    monkeypatch.setattr(Summary, "state", "running")
    bulk = Bulk(SimpleNamespace(view=lambda _: view, fresh_view=lambda _: view), may_ask=True)  # type: ignore[arg-type]
    bulk.choose(["a"])
    for _ in range(2):
        for callback in bulk.fields.view._msg__callbacks:
            values = {"key": "lr", "value": "0.5", **({"force": True} if not list(run.inbox.iterdir()) else {})}
            callback(SimpleNamespace(data={"values": values, "pressed": "apply"}))
    asked = sorted(map(files.read_mapping, run.inbox.iterdir()), key=lambda one: bool(one.get("force")))
    assert [(one["edits"], bool(one.get("force"))) for one in asked] == [({"lr": "0.5"}, False), ({"lr": "0.5"}, True)]


def test_reader_files_nothing_whatever_the_page_is_told(tmp_path: Path) -> None:
    run = RunDir.at(tmp_path)
    run.create()
    page = Asking(may_ask=False)
    page.ask(RunView(RunRow.of(run)), "lr", texts={"lr": "1"})
    assert "rejected: this link only shows" in page.lines()
    assert list(run.inbox.iterdir()) == []


def test_script_tags_are_text_in_every_place(tmp_path: Path) -> None:
    run = RunDir.at(tmp_path / "Tag_<script>name")
    run.create()
    files.write_yaml(run.run, {"name": TAG, "overrides": [f"tag={TAG}"], "keys": {"tag": Key("str").to_dict()}})
    write_status(run, Status.running_here(attempt=1, slot=TAG).end("failed", exit_code=1, reason=TAG))
    edit = Edit(3, {"tag": TAG}, who="me", via="cli", note=TAG, at=1.0)
    run.changelog.write_text(dumps(Changelog({"tag": TAG, TAG: 1}, [edit])))
    asked = {"id": "a", "state": "rejected", "edits": {TAG: TAG}, "note": TAG, "who": TAG, "reason": TAG}
    files.append_lines(run.events, [asked])
    watcher = Watcher(tmp_path)
    (name,) = watcher.rows()
    view = watcher.view(name)
    assert view is not None
    rows = [("tag", TAG, TAG)]
    shown = [
        summary.facts(view.row),
        summary.failures(watcher.rows()),
        summary.slots(watcher.rows()),
        config.difference_table(rows, (TAG, TAG, TAG), TAG),
        ansi.to_html(f"{TAG}\033[31m{TAG}\033[0m"),
    ]
    page = Asking(may_ask=True)
    page.ask(view, TAG, texts={TAG: TAG})
    shown.append(page.lines())
    assert [text for text in shown if "<script" in text] == []
    assert [text for text in shown if "&lt;script&gt;" in text] != []
