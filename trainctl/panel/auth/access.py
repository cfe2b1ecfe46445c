"""Who may see the page: a pure decision over one request's words. Deny by default."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from trainctl.panel.auth.front import FRONT_ALONE, LOOPBACK, PATH, Front
from trainctl.panel.auth.password import Credentials
from trainctl.panel.auth.proxy import Proxy, ProxyError

# in these the gate tells a page who asks; headers of these names that come from a browser are dropped
ROLE_HEADER = "X-Trainctl-Role"
WHO_HEADER = "X-Trainctl-Who"

Role = Literal["editor", "reader"]

# Panel serves components of any module by its name; the pages use only those of these packages
COMPONENT_PACKAGES = ("panel_material_ui.", "panel.")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """The input of the decision. Headers are by lower-case name; repeated ones are joined, so that they match nothing.

    `peer` is the address at the other end of the connection, whatever headers say of it. `before` is what a proxy has
    passed on before `path`.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: Mapping[str, str] = field(default_factory=dict)
    peer: str = ""
    before: str = ""

    @property
    def is_upgrade(self) -> bool:
        return "upgrade" in self.headers


@dataclass(frozen=True, slots=True)
class Admission:
    """`admit`: let the request through; `welcome`: set the cookie and redirect to `target`; `refuse`: say why.

    `path`: of the cookie; empty for the directory of the requested address.
    `lead`: redirect to `target`, without a cookie. `check`: verify the user and the password; see `Access.entered`.
    `role` is what may be done: an editor may ask for changes, a reader may not. `who` is a name if one is known.
    """

    kind: Literal["admit", "welcome", "refuse", "lead", "check"]
    status: int = 200
    reason: str = ""
    target: str = ""
    role: Role = "reader"
    who: str | None = None
    path: str = ""


def refuse(status: int, reason: str) -> Admission:
    """Return a refusal; the reason is shown to the person and says nothing about the token."""
    return Admission("refuse", status, reason)


NO_PASSWORD = refuse(401, "a user and a password are needed, or the link that trainctl printed")


@dataclass(frozen=True, slots=True)
class Access:
    """The words that open one server: made once per server, kept in memory and in a file of mode 0600.

    The cookie is another value than the token and never leads back to it; it follows from it, so that an open page goes
    on when its server is started again. Browsers keep one set of cookies for all ports of a host: the cookie's name has
    the port and the random prefix of its server.
    """

    token: str
    prefix: str
    hosts: frozenset[str]
    scheme: str = "http"
    port: int | None = None
    credentials: Credentials | None = None
    proxy: Proxy | None = None
    front: Front = FRONT_ALONE

    @classmethod
    def of_url(
        cls,
        url: str,
        hosts: Iterable[str] = (),
        credentials: Credentials | None = None,
        proxy: Proxy | None = None,
        front: Front | None = None,
    ) -> Access:
        """Return the access of a server that is known by `http://HOST:PORT/PREFIX/?token=TOKEN`, and by other hosts."""
        parts = urlsplit(url)
        known = {parts.netloc, *(f"{host}:{parts.port}" for host in hosts)}
        if parts.hostname == "127.0.0.1":
            known.add(f"localhost:{parts.port}")
        if proxy is not None:
            known.add(proxy.host)
        token = dict(parse_qsl(parts.query))["token"]
        prefix = parts.path.strip("/")
        return cls(token, prefix, frozenset(known), parts.scheme, parts.port, credentials, proxy, front or FRONT_ALONE)

    @property
    def cookie_name(self) -> str:
        """With TLS its `__Host-` keeps other sites below the domain from setting it."""
        return f"__Host-trainctl-{self.prefix}" if self.scheme == "https" else f"trainctl-{self.port}-{self.prefix}"

    @property
    def cookie_path(self) -> str:
        return "/" if self.scheme == "https" else f"/{self.prefix}"  # `__Host-` wants the whole host

    @property
    def origins(self) -> frozenset[str]:
        """The sites whose pages may ask: this server's own, and the proxy's by the scheme that people reach it with."""
        own = {f"{self.scheme}://{host}" for host in self.hosts if self.proxy is None or host != self.proxy.host}
        return frozenset(own if self.proxy is None else {*own, self.proxy.url})

    def cookie_of(self, role: Role, who: str | None = None) -> str:
        """Return what the cookie says of someone who has entered: by a link, or under a name with a password."""
        if who is None or self.credentials is None:
            return _derived(self.token, f"cookie of an {role}")
        return _derived(self.token, f"cookie of {who} with {self.credentials.digest}")

    def judge(self, request: HttpRequest) -> Admission:
        """Decide on a request: the Host first, then where it comes from, then who asks, then what for."""
        host = request.headers.get("host", "")
        if host not in self.hosts and not self.front.knows(host):
            return refuse(421, "this server does not answer to that Host (trainctl.panel.hosts)")  # DNS rebinding
        if self._is_foreign(request, host):
            return refuse(403, "requests from other sites are refused")
        if self.proxy is not None and self.proxy.sends(request.headers):
            return self._judge_proxied(self.proxy, request)
        by_token = self._role_of_link(request)
        role, who = (by_token, None) if by_token else self._known_person(request)
        if role is None and not self._has_password(request):
            return self._stranger()
        refusal = self._about_target(request)
        if refusal is not None:
            return refusal
        if role is None:
            return Admission("check")
        if by_token is not None:
            return self._welcome(request, role)
        return Admission("admit", role=role, who=who)

    def entered(self, request: HttpRequest, who: str) -> Admission:
        """Decide on a request of `check` whose password was right; a browser gets a cookie, and need not ask again."""
        is_browsing = request.method == "GET" and request.headers.get("sec-fetch-mode") == "navigate"
        if is_browsing and not request.is_upgrade:
            return self._welcome(request, "editor", who)
        return Admission("admit", role="editor", who=who)

    def _welcome(self, request: HttpRequest, role: Role, who: str | None = None) -> Admission:
        target, path = _without_token(request), self._path_of_cookie(request)
        return Admission("welcome", 302, target=target, role=role, who=who, path=path)

    def _judge_proxied(self, proxy: Proxy, request: HttpRequest) -> Admission:
        """Decide on a request that names a person: by the name alone, once the proxy has proved itself."""
        if request.is_upgrade and "origin" not in request.headers:
            return refuse(403, "a websocket must say which page opens it")
        try:
            role, who = proxy.person(request.headers, request.peer)
        except ProxyError as error:
            return refuse(403, str(error))
        if request.path == "/" and request.method == "GET" and not request.is_upgrade:
            return Admission("lead", 302, target=f"/{self.prefix}/")  # people know the proxy's address, not the prefix
        return self._about_target(request) or Admission("admit", role=role, who=who)

    def _stranger(self) -> Admission:
        if self.credentials is None:
            return refuse(403, "not open without the link that trainctl printed (…/?token=…)")
        return NO_PASSWORD

    def _known_person(self, request: HttpRequest) -> tuple[Role | None, str | None]:
        """Return who sends the cookie (a websocket: with an Origin), or a token as bearer, which alone counts then."""
        given = request.headers.get("authorization", "")
        kind, _, word = given.partition(" ")
        if given and (kind.lower() != "basic" or self.credentials is None):
            return (self._role_of_token(word.strip()) if kind.lower() == "bearer" else None), None
        if request.is_upgrade and "origin" not in request.headers:
            return None, None
        cookie = request.cookies.get(self.cookie_name, "")
        if self.credentials is not None and _equal(cookie, self.cookie_of("editor", self.credentials.user)):
            return "editor", self.credentials.user
        return next((role for role in _ROLES if _equal(cookie, self.cookie_of(role))), None), None

    def _has_password(self, request: HttpRequest) -> bool:
        given = request.headers.get("authorization", "").lower()
        is_open = not request.is_upgrade or "origin" in request.headers
        return self.credentials is not None and given.startswith("basic ") and is_open

    def _role_of_link(self, request: HttpRequest) -> Role | None:
        given = [value for key, value in parse_qsl(request.query) if key == "token"]
        if request.method != "GET" or request.is_upgrade or len(given) != 1:
            return None
        return self._role_of_token(given[0])

    def _role_of_token(self, word: str) -> Role | None:
        if _equal(word, self.token):
            return "editor"
        return "reader" if _equal(word, reader_token(self.token)) else None

    def inner_path(self, path: str) -> str:
        """Return a path as this server knows it: without the prefix that a proxy passes on.

        >>> access = Access.of_url("http://127.0.0.1:8050/ab/?token=x", front=Front(prefix="/lab"))
        >>> [access.inner_path(path) for path in ("/ab/run/a", "/proxy/absolute/8050/ab/", "/lab/", "/", "/xab/")]
        ['/ab/run/a', '/ab/', '/', '/', '/xab/']
        """
        before, found, after = path.partition(f"/{self.prefix}/")
        if found and before:
            return found + after
        outer = self.front.path(self.port)
        return path[len(outer) :] if outer and path.startswith(f"{outer}/") else path

    def _path_of_cookie(self, request: HttpRequest) -> str:
        """Return the path of the cookie: the page's own, below that of a proxy if there is one.

        A proxy may have taken its path off. Where the page itself is asked for, the browser knows the path best.
        """
        if self.scheme == "https" or request.path == f"/{self.prefix}/":
            return self.cookie_path if self.scheme == "https" else ""
        if request.before and PATH.fullmatch(request.before):
            return f"{request.before}{self.cookie_path}"
        name = urlsplit(f"//{request.headers['host']}").hostname or ""
        return (
            self.cookie_path if name in LOOPBACK or name == "::1" else f"{self.front.path(self.port)}{self.cookie_path}"
        )

    def _is_foreign(self, request: HttpRequest, host: str) -> bool:
        """Whether another site's page sends this. A person who follows a link from elsewhere is not foreign."""
        origin = request.headers.get("origin")
        if origin is not None and origin not in self.origins and not self.front.owns(origin, host, self.scheme):
            return True
        site = request.headers.get("sec-fetch-site", "none")
        return site not in ("same-origin", "none") and request.headers.get("sec-fetch-mode") != "navigate"

    def _about_target(self, request: HttpRequest) -> Admission | None:
        """Refuse what is not served to anybody."""
        if request.method not in ("GET", "HEAD"):
            return refuse(405, f"{request.method} is not used by this server")
        inside, _, rest = request.path[1:].partition("/")
        served = tuple(f"components/{name}" for name in COMPONENT_PACKAGES)
        if inside != self.prefix or ("components/" in rest and not rest.startswith(served)):
            return refuse(404, "nothing is served there")
        return None


_ROLES: tuple[Role, ...] = ("editor", "reader")


def reader_token(token: str) -> str:
    """Return the token of readers. It is derived from the other one, which cannot be derived from it."""
    return _derived(token, "may only look")


def _derived(token: str, purpose: str) -> str:
    return hmac.new(token.encode(), f"trainctl: {purpose}".encode(errors="replace"), "sha256").hexdigest()


def reader_url(url: str) -> str:
    """Return the readers' link."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=urlencode({"token": reader_token(dict(parse_qsl(parts.query))["token"])})))


def _without_token(request: HttpRequest) -> str:
    query = urlencode([(key, value) for key, value in parse_qsl(request.query) if key != "token"])
    return request.path + (f"?{query}" if query else "")


def _equal(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode())
