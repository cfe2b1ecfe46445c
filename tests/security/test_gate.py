"""The page from outside, as somebody who should not see it: a real server, asked in every wrong way."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from trainctl.config.settings import PanelSettings
from trainctl.panel.auth.access import Access, Admission, HttpRequest
from trainctl.panel.auth.gate import Gate, GateError, prove
from trainctl.panel.auth.password import Credentials
from trainctl.panel.server import handle as process
from trainctl.panel.server.state import PanelDir

ROUTES = [
    "",
    "run/Norm_new",
    "run/Norm_new/autoload.js",
    "autoload.js",
    "metadata",
    "static/js/bokeh.min.js",
    "static/extensions/panel/panel.min.js",
    "components/panel_material_ui.base/MaterialComponent/_css/x",
    "components/os/path/_css/x",
    "nowhere",
]
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "bokeh, x",
}


@dataclass(frozen=True)
class Client:
    """Sends one request exactly as it is told, and follows nothing."""

    root: Path
    host: str
    prefix: str
    token: str

    def ask(
        self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> tuple[int, dict[str, str], str]:
        """Ask for a path below the prefix; a header that is empty is left out."""
        connection = http.client.HTTPConnection(self.host, timeout=240)
        try:
            connection.putrequest(method, f"/{self.prefix}/{path}", skip_host=True, skip_accept_encoding=True)
            for name, value in {"Host": self.host, **(headers or {})}.items():
                if value:
                    connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            back = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, back, "" if answer.status == 101 else answer.read().decode(errors="replace")
        finally:
            connection.close()

    def status(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> int:
        return self.ask(path, headers, method)[0]

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def cookie(self) -> dict[str, str]:
        """Enter by the link; what the browser would send from then on."""
        status, headers, _ = self.ask(f"?token={self.token}")
        assert status == 302
        return {"Cookie": headers["set-cookie"].partition(";")[0]}

    @property
    def origin(self) -> dict[str, str]:
        return {"Origin": f"http://{self.host}"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    root = tmp_path_factory.mktemp("root")
    handle = process.ensure(root, PanelSettings(keep_min=0))
    assert handle is not None
    parts = urlsplit(handle.url)
    yield Client(root, parts.netloc, parts.path.strip("/"), dict(parse_qsl(parts.query))["token"])
    handle.close()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "OPTIONS"])
@pytest.mark.parametrize("route", ROUTES)
def test_gate_refuses_every_route_without_token(client: Client, route: str, method: str) -> None:
    assert client.status(route, method=method) == 403


@pytest.mark.parametrize("route", ROUTES)
def test_gate_refuses_a_wrong_token_and_a_wrong_cookie(client: Client, route: str) -> None:
    assert client.status(f"{route}?token=wrong") == 403
    assert client.status(route, {"Authorization": "Bearer wrong"}) == 403
    assert client.status(route, {"Authorization": client.token}) == 403
    name = f"trainctl-{client.host.rpartition(':')[2]}-{client.prefix}"
    assert client.status(route, {"Cookie": f"{name}={client.token}"}) == 403


@pytest.mark.parametrize("route", ROUTES)
def test_gate_refuses_a_foreign_host_even_with_token(client: Client, route: str) -> None:
    port = client.host.rpartition(":")[2]
    for host in (f"rebound.example:{port}", "127.0.0.1.evil.example", f"127.0.0.1:{port}.evil.example", ""):
        assert client.status(route, {"Host": host, **client.bearer}) in (400, 421), host
        assert client.status(f"{route}?token={client.token}", {"Host": host}) in (400, 421), host


@pytest.mark.parametrize("route", ROUTES)
def test_gate_refuses_a_foreign_origin_even_with_cookie(client: Client, route: str) -> None:
    cookie = client.cookie
    for origin in ("http://evil.example", "http://127.0.0.1:1", "null", f"https://{client.host}"):
        assert client.status(route, {"Origin": origin, **cookie}) == 403
        assert client.status(route, {"Origin": origin, **cookie}, method="POST") == 403


@pytest.mark.slow
def test_gate_opens_with_token_or_cookie(client: Client) -> None:
    assert client.status("", client.bearer) == 200
    assert client.status("static/js/bokeh.min.js", client.bearer) == 200
    assert client.status("", client.cookie) == 200
    assert client.status("", {**client.cookie, **client.origin}) == 200
    port = client.host.rpartition(":")[2]
    assert client.status("", {"Host": f"localhost:{port}", **client.cookie}) == 200


def test_gate_serves_nothing_outside_its_prefix_and_no_other_method(client: Client) -> None:
    assert client.status("../favicon.ico", client.bearer) == 404
    assert client.status("../", client.bearer) == 404
    assert client.status("", client.bearer, method="POST") == 405


def test_gate_serves_components_of_panel_only(client: Client) -> None:
    for module in ("os", "trainctl.cli", "this", "panelx.y"):
        assert client.status(f"components/{module}/path/_css/x", client.bearer) == 404


def test_gate_refuses_static_paths_outside(client: Client) -> None:
    for path in ("static/../../../../etc/passwd", "static/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "static//etc/passwd"):
        status, _, body = client.ask(path, client.bearer)
        assert status in (403, 404)
        assert "root:" not in body


def test_websocket_is_refused_without_token(client: Client) -> None:
    assert client.status("ws", UPGRADE) == 403
    assert client.status("ws", {**UPGRADE, **client.origin}) == 403
    assert client.status(f"ws?token={client.token}", {**UPGRADE, **client.origin}) == 403
    assert client.status("run/x/ws", {**UPGRADE, **client.origin}) == 403


def test_websocket_by_cookie_needs_our_own_origin(client: Client) -> None:
    cookie = client.cookie
    assert client.status("ws", {**UPGRADE, **cookie}) == 403
    assert client.status("ws", {**UPGRADE, **cookie, "Origin": "http://evil.example"}) == 403
    rebound = {"Host": "evil.example", "Origin": "http://evil.example"}  # tornado alone lets an equal pair pass
    assert client.status("ws", {**UPGRADE, **cookie, **rebound}) == 421
    assert client.status("ws", {**UPGRADE, **cookie, **client.origin}) == 101


def test_websocket_with_a_forged_session_token_is_closed(client: Client) -> None:
    from bokeh.util.token import generate_jwt_token, generate_session_id
    from tornado.httpclient import HTTPRequest
    from tornado.websocket import websocket_connect

    forged = generate_jwt_token(generate_session_id(signed=False), signed=False)

    async def first_message() -> str | bytes | None:
        request = HTTPRequest(
            f"ws://{client.host}/{client.prefix}/ws", headers={**client.cookie, **client.origin}, request_timeout=240
        )
        connection = await websocket_connect(request, subprotocols=["bokeh", forged])
        try:
            return await asyncio.wait_for(connection.read_message(), 240)
        finally:
            connection.close()

    assert asyncio.run(first_message()) is None


def test_page_of_another_site_cannot_load_ours(client: Client) -> None:
    cookie = client.cookie
    for site in ("cross-site", "same-site"):  # same-site: another server on another port of this machine
        fetched = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors", **cookie}
        assert client.status("autoload.js?bokeh-autoload-element=x", fetched) == 403
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", **cookie}
    assert client.status("", followed) == 200


def test_link_sets_a_strict_cookie_and_leads_away_from_the_token(client: Client) -> None:
    status, headers, body = client.ask(f"run/a%2Fb?x=1&token={client.token}")
    assert (status, headers["location"]) == (302, "./a%2Fb?x=1"), "a proxy may have taken a path off before ours"
    assert client.token not in headers["set-cookie"] + body
    words = {word.strip() for word in headers["set-cookie"].split(";")[1:]}
    assert words == {"HttpOnly", f"Path=/{client.prefix}", "SameSite=Strict"}


def test_link_from_another_site_leads_on_by_a_page(client: Client) -> None:
    clicked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    status, headers, body = client.ask(f"?token={client.token}", clicked)
    assert status == 200
    assert 'content="0;url=./"' in body
    assert "set-cookie" in headers
    assert client.token not in body


@pytest.mark.parametrize("route", ["", "static/js/bokeh.min.js", "nowhere"])
def test_answers_forbid_framing_referrers_and_foreign_content(client: Client, route: str) -> None:
    for headers in ({}, client.bearer):
        _, back, _ = client.ask(route, headers)
        assert "default-src 'self'" in back["content-security-policy"]
        assert "frame-ancestors 'none'" in back["content-security-policy"]
        scripts = re.search(r"script-src ([^;]*);", back["content-security-policy"])
        assert scripts is not None
        assert "unsafe" not in scripts[1]
        assert "script-src-attr 'none'; frame-src 'none'" in back["content-security-policy"]
        assert back["referrer-policy"] == "no-referrer"
        assert back["x-frame-options"] == "DENY"
        is_code = route.startswith("static") and headers
        assert back["cache-control"] == ("private, max-age=86400" if is_code else "no-store")


def test_scripts_of_a_page_carry_a_nonce_of_their_answer(client: Client) -> None:
    nonces = []
    for _ in range(2):
        _, back, page = client.ask("", client.bearer)
        found = re.search(r"script-src [^;]*'nonce-([\w-]{22})'", back["content-security-policy"])
        assert found is not None
        tags = re.findall("<script[^>]*>", page)
        assert len(tags) > 2
        assert [each for each in tags if f'nonce="{found[1]}"' not in each] == []
        nonces.append(found[1])
    assert nonces[0] != nonces[1]


def test_session_token_of_a_page_holds_no_headers_or_cookies(client: Client) -> None:
    cookie = client.cookie
    _, _, page = client.ask("", {**cookie, "X-Secret": "do-not-keep"})
    found = re.search(r'"token":\s*"([\w.-]+)"', page)
    assert found is not None
    head = found[1].split(".")[0]
    content = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    assert content["session_id"]
    assert len(found[1].split(".")) > 1  # signed
    assert cookie["Cookie"].partition("=")[2] not in page
    assert "do-not-keep" not in str(content)


def test_token_is_in_no_command_line_environment_or_log(client: Client) -> None:
    client.status("nowhere", client.bearer)
    client.status(f"nowhere?token={client.token}x")
    place = PanelDir(client.root)
    record = place.read_record()
    assert record is not None
    for name in ("cmdline", "environ"):
        assert client.token.encode() not in Path(f"/proc/{record.pid}/{name}").read_bytes()
    assert client.token not in place.log.read_text()


def test_files_of_the_server_are_for_their_owner_only(client: Client) -> None:
    place = PanelDir(client.root)
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o700
    files = sorted(place.path.iterdir())
    assert {path.name for path in files} >= {"panel.json", "panel.log", "panel.lock", "server.lock"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {path.stat().st_uid for path in files} == {os.geteuid()}


@pytest.mark.parametrize("route", ["", "run", "autoload.js", "metadata", "components/os/x/_css/y", "ws", "run/ws"])
def test_stranger_foreign_host_and_foreign_origin_are_refused_on_every_route(client: Client, route: str) -> None:
    extra = {**UPGRADE, **client.origin} if route.endswith("ws") else {}
    assert client.status(route, extra) == 403
    assert client.status(route, {"Host": "rebound.example", **client.bearer}) == 421
    assert client.status(route, {"Origin": "http://foreign.example", **client.bearer}) == 403


def test_server_that_lets_a_stranger_in_is_not_started() -> None:
    from tornado.web import Application, RequestHandler

    class Page(RequestHandler):
        def get(self) -> None:
            self.finish("a page")

    class Open(Access):
        def judge(self, request: HttpRequest) -> Admission:
            return Admission("admit", role="editor")

    application = Application([(r".*", Page)])
    access = Open("token", "prefix", frozenset({"127.0.0.1:1"}))
    with pytest.raises(GateError, match="answered with 200, not 403; nothing is served"):
        asyncio.run(prove(Gate(application, access), access))


@pytest.mark.parametrize("credentials", [None, Credentials.of("me", "correct horse")])
def test_server_that_refuses_a_stranger_is_started(credentials: Credentials | None) -> None:
    from tornado.web import Application

    access = Access("token", "prefix", frozenset({"127.0.0.1:1"}), credentials=credentials)
    asyncio.run(prove(Gate(Application([]), access), access))


def test_access_compares_words_that_are_not_ascii() -> None:
    access = Access.of_url("http://127.0.0.1:5/p/?token=secret")
    headers = {"host": "127.0.0.1:5", "authorization": "Bearer s\u00e9cret\udc80"}
    assert access.judge(HttpRequest("GET", "/p/", headers=headers)).status == 403
    assert (
        access.judge(HttpRequest("GET", "/p/", "token=secret&token=secret", headers={"host": "127.0.0.1:5"})).status
        == 403
    )
