"""The only entrance of the server: every request passes `Access.judge` before a handler is chosen.

The HTTP server knows only the gate, and the gate alone knows Bokeh's application: pages, autoload.js, metadata, static
files, components, websockets and whatever a later version adds are behind it by construction, not by a list of routes.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html import escape
from typing import Any
from urllib.parse import quote

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest
from tornado.netutil import bind_sockets
from tornado.routing import Router
from tornado.web import Application, GZipContentEncoding, RequestHandler

from trainctl.errors import TrainctlError
from trainctl.panel.auth.access import (
    NO_PASSWORD,
    ROLE_HEADER,
    WHO_HEADER,
    Access,
    Admission,
    HttpRequest,
    refuse,
)
from trainctl.panel.auth.password import Credentials, Guesses, parse_basic
from trainctl.panel.server._bokeh import OutputTransform, stream_of
from trainctl.panel.server.limits import Bucket, client_of

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' blob: {nonce}",
        "script-src-attr 'none'",  # no onerror=, no onload=
        "frame-src 'none'",
        "connect-src 'self' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
SCRIPT = re.compile(rb"<script(?=[\s>])")

# over all clients who may enter: opening a page takes some thirty requests
MOST_AT_ONCE, MOST_PER_S = 3000, 300
# over all others, so that none of them can use up the turns of those who may
STRANGERS_AT_ONCE, STRANGERS_PER_S = 600, 60
TOO_MANY = refuse(429, "too many requests; wait a moment")
TOO_MANY_GUESSES = refuse(429, "too many wrong passwords; wait a minute")
MOST_WAITING_OF_CLIENT, MOST_WAITING_CLIENTS = 4, 64  # whose passwords are to be checked

HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Gate(Router):
    """Passes a request on to the application, or answers it itself.

    Attributes:
        admitted: called with each request that was let in.
    """

    admitted: Callable[[HTTPServerRequest], None] | None = None

    def __init__(self, application: Application, access: Access) -> None:
        application.add_transform(Manners)
        application.add_transform(GZipContentEncoding)  # after the page has got its nonce
        self._application = application
        self._access = access
        self._passwords = None if access.credentials is None else PasswordCheck(access.credentials)
        self._turns = Bucket(MOST_AT_ONCE, MOST_PER_S)
        self._strangers = Bucket(STRANGERS_AT_ONCE, STRANGERS_PER_S)
        self._doorman = Application(transforms=[Manners], log_function=_log_nothing)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        """Return what serves the request: the application only if the access says so."""
        inner = self._access.inner_path(request.path)
        before = request.path.removesuffix(inner)
        if before:
            request.path = inner
            request.uri = inner + (f"?{request.query}" if request.query else "")
        verdict = self._access.judge(replace(words_of(request), before=before))
        turns = self._strangers if verdict.kind == "refuse" else self._turns
        if not turns.take():
            verdict = TOO_MANY
        if verdict.kind == "check" and self._passwords is not None:
            return _Checked(self._verdict_of_password(self._passwords, request, before), request, self._led_by)
        return self._led_by(verdict, request)

    def _led_by(self, verdict: Admission, request: HTTPServerRequest) -> HTTPMessageDelegate | None:
        if verdict.kind in ("admit", "welcome") and self.admitted is not None:
            self.admitted(request)
        if verdict.kind == "admit":
            # in place of any that were sent
            request.headers[ROLE_HEADER] = verdict.role
            request.headers[WHO_HEADER] = quote(verdict.who or "")
            return self._application.find_handler(request)
        return self._doorman.get_handler_delegate(request, Answer, {"verdict": verdict, "access": self._access})

    async def _verdict_of_password(
        self, passwords: PasswordCheck, request: HTTPServerRequest, before: str
    ) -> Admission:
        words = replace(words_of(request), before=before)
        who = await passwords.check(words.headers["authorization"], client_of(stream_of(request).socket))
        return self._access.entered(words, who) if isinstance(who, str) else who


class PasswordCheck:
    """Checks passwords in a thread of its own, one at a time: each takes 50 ms, which no page is to wait for."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._guesses = Guesses()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trainctl-password")
        self._waiting: Counter[str] = Counter()

    async def check(self, header: str, client: str) -> str | Admission:
        """Return the user's name if the password is right, else the refusal.

        A client that has guessed too often lately is refused without a look; clients do not count for one another.
        """
        user, password = parse_basic(header)
        if self._guesses.is_closed(client, user):
            return TOO_MANY_GUESSES
        if self._waiting[client] >= MOST_WAITING_OF_CLIENT or len(self._waiting) >= MOST_WAITING_CLIENTS:
            return TOO_MANY
        self._waiting[client] += 1
        try:
            loop = asyncio.get_running_loop()
            if await loop.run_in_executor(self._thread, self._credentials.is_right, user, password):
                return user
        finally:
            self._waiting[client] -= 1
            if not self._waiting[client]:
                del self._waiting[client]
        self._guesses.note(client, user)
        return NO_PASSWORD


class _Checked(HTTPMessageDelegate):
    """A request that waits for a verdict before it is passed on; Tornado waits until its headers are received."""

    def __init__(
        self,
        verdict: Awaitable[Admission],
        request: HTTPServerRequest,
        lead: Callable[[Admission, HTTPServerRequest], HTTPMessageDelegate | None],
    ) -> None:
        self._verdict, self._request, self._lead = verdict, request, lead
        self._led: HTTPMessageDelegate | None = None

    async def headers_received(self, start_line: Any, headers: HTTPHeaders) -> None:
        self._led = self._lead(await self._verdict, self._request)
        if self._led is not None:
            done = self._led.headers_received(start_line, headers)
            if done is not None:
                await done

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return None if self._led is None else self._led.data_received(chunk)

    def finish(self) -> None:
        if self._led is not None:
            self._led.finish()

    def on_connection_close(self) -> None:
        if self._led is not None:
            self._led.on_connection_close()


class GateError(TrainctlError, RuntimeError):
    """A stranger was let in; nothing is served."""


async def prove(gate: Gate, access: Access) -> None:
    """Request the page without the token, over a real connection on a separate port, and expect a refusal.

    That the gate stands before Bokeh's application depends on names of Bokeh that a later version may change.

    Raises:
        GateError: the answer was another one.
    """
    server = HTTPServer(gate)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    client = AsyncHTTPClient(force_instance=True)
    url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/{access.prefix}/"
    try:
        request = HTTPRequest(url, headers={"Host": min(access.hosts)}, follow_redirects=False, request_timeout=60)
        answer = await client.fetch(request, raise_error=False)
    finally:
        client.close()
        server.stop()
        await server.close_all_connections()
    wanted = 403 if access.credentials is None else 401
    if answer.code != wanted:
        raise GateError(f"a request without the token was answered with {answer.code}, not {wanted}; nothing is served")


def words_of(request: HTTPServerRequest) -> HttpRequest:
    """Return the input of the decision."""
    return HttpRequest(
        method=request.method or "",
        path=request.path,
        query=request.query,
        headers={name.lower(): value for name, value in request.headers.items()},
        cookies={name: morsel.value for name, morsel in request.cookies.items()},
        peer=request.remote_ip or "",  # of the connection itself: X-Forwarded-For is not trusted
    )


class Answer(RequestHandler):
    """The gate's own answers: a refusal, or the cookie and a redirect."""

    def initialize(self, verdict: Admission, access: Access) -> None:
        self._verdict = verdict
        self._access = access

    def prepare(self) -> None:
        verdict = self._verdict
        self.clear_header("Server")
        if verdict.kind == "refuse":
            self.set_status(verdict.status)
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            if verdict.status == 401:
                self.set_header("WWW-Authenticate", 'Basic realm="trainctl", charset="UTF-8"')
            self.finish(f"{verdict.status}: {verdict.reason}\n")
            return
        if verdict.kind == "lead":
            self.redirect(seen_from(self.request.path, verdict.target), status=302)
            return
        access, target = self._access, seen_from(self.request.path, verdict.target)
        cookie, secure = access.cookie_of(verdict.role, verdict.who), access.scheme == "https"
        self.set_cookie(access.cookie_name, cookie, path=verdict.path, httponly=True, samesite="Strict", secure=secure)
        if self.request.headers.get("Sec-Fetch-Site") == "cross-site":
            # a redirect that another site began carries no strict cookies, but a page of this site may go on
            url = escape(target, quote=True)
            self.finish(f'<!doctype html><meta http-equiv="refresh" content="0;url={url}"><title>trainctl</title>')
            return
        self.redirect(target, status=302)


def seen_from(path: str, target: str) -> str:
    """Return a target in the directory of a path as a browser finds it, whatever path a proxy has taken off.

    >>> seen_from("/p/run/a", "/p/run/a?tab=log"), seen_from("/p/", "/p/"), seen_from("/", "/p/")
    ('./a?tab=log', './', './p/')
    """
    directory = path[: path.rindex("/") + 1]
    return f"./{target.removeprefix(directory)}"


class Manners(OutputTransform):
    """Headers for every answer: no framing, no referrer, nothing from elsewhere; only code may be cached.

    The scripts of a page carry a nonce that is drawn for this answer, and the browser runs no other inline script: no
    text that comes into the page later can bring one. The page as it is sent holds nothing of a run (that comes by the
    websocket), so each of its script tags is Bokeh's or Panel's.
    """

    def __init__(self, request: HTTPServerRequest) -> None:
        self._is_code = "/static/" in request.path or "/components/" in request.path

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        for name, value in HEADERS.items():
            headers[name] = value
        nonce = ""
        if finishing and headers.get("Content-Type", "").startswith("text/html"):
            drawn = secrets.token_urlsafe(16)
            nonce = f"'nonce-{drawn}'"
            chunk = SCRIPT.sub(f'<script nonce="{drawn}"'.encode(), chunk)
            headers["Content-Length"] = str(len(chunk))
        headers["Content-Security-Policy"] = POLICY.format(nonce=nonce)
        cached = self._is_code and status_code in (200, 304)
        headers["Cache-Control"] = "private, max-age=86400" if cached else "no-store"
        return status_code, headers, chunk


def _log_nothing(handler: RequestHandler) -> None:
    """Log nothing: Tornado's own line would contain the query and with it the token, and anybody can send requests."""
