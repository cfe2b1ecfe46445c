"""A login provider for tests, on loopback: it asks nobody for a password and lets in whom the test names."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

KEY, SECRET = "the-key", "the-secret-of-the-client"


@dataclass
class Provider:
    """`claims` is what it tells of the person who logs in; `asked` is what it was asked for."""

    claims: dict[str, Any] = field(default_factory=lambda: {"email": "me@lab.example"})
    asked: list[str] = field(default_factory=list)

    def start(self) -> None:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.answer(self, "")

            def do_POST(self) -> None:
                provider.answer(self, self.rfile.read(int(self.headers["Content-Length"])).decode())

            def log_message(self, *args: Any) -> None:
                """Keep quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def environment(self) -> dict[str, str]:
        """What a person sets for Panel's generic provider."""
        base = f"http://127.0.0.1:{self.server.server_address[1]}"
        return {
            "PANEL_OAUTH_PROVIDER": "generic",
            "PANEL_OAUTH_KEY": KEY,
            "PANEL_OAUTH_SECRET": SECRET,
            "PANEL_OAUTH_AUTHORIZE_URL": f"{base}/authorize",
            "PANEL_OAUTH_TOKEN_URL": f"{base}/token",
            "PANEL_OAUTH_USER_URL": f"{base}/user",
        }

    def answer(self, request: BaseHTTPRequestHandler, body: str) -> None:
        """Play the three parts of a provider: the login page, the exchange of a code, who somebody is."""
        parts = urlsplit(request.path)
        self.asked.append(parts.path)
        given = {name: values[0] for name, values in parse_qs(body or parts.query).items()}
        if parts.path == "/authorize":
            assert given["client_id"] == KEY
            request.send_response(302)
            back = urlencode({"code": "a-code", "state": given["state"]})
            request.send_header("Location", f"{given['redirect_uri']}?{back}")
            request.end_headers()
            return
        if parts.path == "/token":
            is_known = (given["client_id"], given["client_secret"], given["code"]) == (KEY, SECRET, "a-code")
            told: dict[str, Any] = {"access_token": "an-access-token"} if is_known else {"error": "wrong"}
        else:
            told = self.claims if request.headers["Authorization"] == "Bearer an-access-token" else {}
        content = json.dumps(told).encode()
        request.send_response(200 if "error" not in told else 400)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)
