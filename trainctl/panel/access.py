"""Who may see the page: a pure decision over one request's words. Deny by default."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

# Panel's own components are loaded by module name, any module's: only these packages hold what our pages use
COMPONENT_PACKAGES = ("panel_material_ui.", "panel.")


@dataclass(frozen=True, slots=True)
class Request:
    """What the decision looks at. Headers by lower-case name; two of one name are joined, so they equal nothing."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_upgrade(self) -> bool:
        return "upgrade" in self.headers


@dataclass(frozen=True, slots=True)
class Verdict:
    """`admit`: let it through; `welcome`: set the cookie and lead to `target`; `refuse`: answer with the reason."""

    kind: Literal["admit", "welcome", "refuse"]
    status: int = 200
    reason: str = ""
    target: str = ""


ADMIT = Verdict("admit")


def refuse(status: int, reason: str) -> Verdict:
    """Return a refusal; the reason is shown to the person and says nothing about the token."""
    return Verdict("refuse", status, reason)


@dataclass(frozen=True, slots=True)
class Access:
    """The words that open one server: made once per server, kept in memory and in a file of mode 0600.

    The cookie is another random value than the token, so that it never leads to more than the pages of this server. The
    random prefix keeps the cookies of several servers apart: cookies know paths, but no ports.
    """

    token: str
    prefix: str
    hosts: frozenset[str]
    cookie: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @classmethod
    def of_url(cls, url: str) -> Access:
        """Return the access of a server that is known by `http://HOST:PORT/PREFIX/?token=TOKEN`."""
        parts = urlsplit(url)
        hosts = {parts.netloc}
        if parts.hostname == "127.0.0.1":
            hosts.add(f"localhost:{parts.port}")
        return cls(dict(parse_qsl(parts.query))["token"], parts.path.strip("/"), frozenset(hosts))

    @property
    def cookie_name(self) -> str:
        return f"trainctl-{self.prefix}"

    @property
    def origins(self) -> frozenset[str]:
        return frozenset(f"http://{host}" for host in self.hosts)

    def judge(self, request: Request) -> Verdict:
        """Decide on a request: the Host first, then where it comes from, then who asks, then what for."""
        if request.headers.get("host") not in self.hosts:
            return refuse(421, "this server does not answer to that Host")  # DNS rebinding
        if _is_foreign(request, self.origins):
            return refuse(403, "requests from other sites are refused")
        by_token = self._is_token_request(request)
        if not by_token and not self._is_known(request):
            return refuse(403, "not open without the link that trainctl printed (…/?token=…)")
        refusal = self._about_target(request)
        if refusal is not None:
            return refusal
        return Verdict("welcome", 302, target=_without_token(request)) if by_token else ADMIT

    def _is_known(self, request: Request) -> bool:
        """Say whether the request carries the token as bearer, or the cookie (a websocket: also an Origin)."""
        if (given := request.headers.get("authorization")) is not None:
            kind, _, word = given.partition(" ")
            return kind.lower() == "bearer" and _equal(word.strip(), self.token)
        if request.is_upgrade and "origin" not in request.headers:
            return False
        return _equal(request.cookies.get(self.cookie_name, ""), self.cookie)

    def _is_token_request(self, request: Request) -> bool:
        given = [value for key, value in parse_qsl(request.query) if key == "token"]
        return request.method == "GET" and not request.is_upgrade and len(given) == 1 and _equal(given[0], self.token)

    def _about_target(self, request: Request) -> Verdict | None:
        """Refuse what is not served to anybody."""
        if request.method not in ("GET", "HEAD"):
            return refuse(405, f"{request.method} is not used by this server")
        inside, _, rest = request.path[1:].partition("/")
        served = tuple(f"components/{name}" for name in COMPONENT_PACKAGES)
        if inside != self.prefix or ("components/" in rest and not rest.startswith(served)):
            return refuse(404, "nothing is served there")
        return None


def _is_foreign(request: Request, origins: frozenset[str]) -> bool:
    """Say whether another site's page sends this. A person who follows a link from elsewhere is not foreign."""
    origin = request.headers.get("origin")
    if origin is not None and origin not in origins:
        return True
    site = request.headers.get("sec-fetch-site", "none")
    return site not in ("same-origin", "none") and request.headers.get("sec-fetch-mode") != "navigate"


def _without_token(request: Request) -> str:
    query = urlencode([(key, value) for key, value in parse_qsl(request.query) if key != "token"])
    return request.path + (f"?{query}" if query else "")


def _equal(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode())
