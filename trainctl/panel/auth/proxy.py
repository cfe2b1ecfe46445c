"""People logged in by a reverse proxy (oauth2-proxy, Authelia, …), named in a header. Light: does not load Panel.

The rule: a request that carries the header, or the proxy's secret, is judged by both and by nothing else. It must come
from an address in `trainctl.panel.trusted_proxies` and carry `X-Trainctl-Proxy-Secret` with the value of the variable
`TRAINCTL_PROXY_SECRET`. The address alone proves nothing: every user of a machine can connect from 127.0.0.1. Without
the proof the request is refused with 403, also when it has the link's token or a cookie.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal
from urllib.parse import urlsplit

from trainctl.config.settings import PanelSettings
from trainctl.errors import SettingError

VARIABLE, PROOF_HEADER = "TRAINCTL_PROXY_SECRET", "X-Trainctl-Proxy-Secret"
SHORTEST = 32
LONGEST_NAME = 200
_DEFAULT_PORTS = {"http": 80, "https": 443}
# headers that mean something already, to the server or to the page
_TAKEN = re.compile(r"host|origin|cookie|authorization|upgrade|connection|referer|(x-trainctl|sec|content|accept)-.*")


class ProxyError(ValueError):
    """Why a request is not believed to come from the proxy, or names nobody who may enter."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A trusted reverse proxy, and which of the people it names may enter.

    Attributes:
        header: the header with a person's name.
        digest: SHA-256 of the proxy's secret, which is not kept.
        addresses: the addresses or networks from which the proxy connects.
        url: scheme and host under which people reach the proxy.
        users: who may edit, patterns with `*`.
        readers: who may look, patterns with `*`.
    """

    header: str
    digest: str
    addresses: tuple[str, ...]
    url: str
    users: tuple[str, ...]
    readers: tuple[str, ...]

    @classmethod
    def of(cls, settings: PanelSettings, environment: Mapping[str, str] = os.environ) -> Proxy | None:
        """Read settings and environment; None when no proxy is named.

        Raises:
            SettingError: a setting or the secret is missing, or wrong.
        """
        if settings.user_header is None:
            if given := [name for name in ("users", "readers", "public_url") if getattr(settings, name)]:
                raise SettingError(
                    f"trainctl.panel.{given[0]} needs trainctl.panel.user_header, the header in which a reverse proxy "
                    "names who has logged in, such as X-Forwarded-User"
                )
            return None
        header = settings.user_header
        if not re.fullmatch(r"[A-Za-z0-9-]+", header) or _TAKEN.fullmatch(header.lower()):
            raise SettingError(
                f"trainctl.panel.user_header={header!r} is not allowed; name the header in which the proxy says who "
                "has logged in, such as X-Forwarded-User or Remote-User"
            )
        if not settings.users and not settings.readers:
            raise SettingError(
                f"trainctl.panel.user_header={header} lets in everybody the proxy lets in; name those who may edit in "
                "trainctl.panel.users and those who may look in trainctl.panel.readers"
            )
        if not settings.trusted_proxies:
            raise SettingError(
                "trainctl.panel.trusted_proxies names nobody; name the proxy's address, mostly 127.0.0.1"
            )
        if len(secret := environment.get(VARIABLE, "")) < SHORTEST:
            raise SettingError(
                f"trainctl.panel.user_header={header} needs a secret of at least {SHORTEST} characters in the variable "
                f"{VARIABLE} (openssl rand -hex 32), which the proxy sends as {PROOF_HEADER}"
            )
        return cls(
            header,
            _sha256(secret),
            tuple(map(_network, settings.trusted_proxies)),
            _public_url(settings.public_url),
            tuple(settings.users),
            tuple(settings.readers),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the dictionary that the server's process is given."""
        return {
            "header": self.header,
            "digest": self.digest,
            "addresses": list(self.addresses),
            "url": self.url,
            "users": list(self.users),
            "readers": list(self.readers),
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Proxy:
        """Read what `to_dict` wrote."""
        lists = {name: tuple(told[name]) for name in ("addresses", "users", "readers")}
        return cls(told["header"], told["digest"], url=told["url"], **lists)

    @property
    def host(self) -> str:
        """What a browser that talks to the proxy sends as Host."""
        return urlsplit(self.url).netloc

    def sends(self, headers: Mapping[str, str]) -> bool:
        """Whether a request carries the proxy's secret."""
        return self.header.lower() in headers or PROOF_HEADER.lower() in headers

    def person(self, headers: Mapping[str, str], peer: str) -> tuple[Literal["editor", "reader"], str]:
        """Return the role and the name of the person named by the proxy.

        Args:
            headers: by lower-case name; two of one name are joined by a comma.
            peer: the address from which the request comes.

        Raises:
            ProxyError: the request does not come from the proxy, or names nobody who may enter.
        """
        if not self._is_trusted(peer):
            raise ProxyError(f"{self.header} is believed only from the addresses in trainctl.panel.trusted_proxies")
        given = _sha256(headers.get(PROOF_HEADER.lower(), ""))
        if not hmac.compare_digest(given, self.digest):
            raise ProxyError(f"{self.header} is believed only together with the proxy's secret in {PROOF_HEADER}")
        who = _name(headers.get(self.header.lower(), ""))
        if who is None:
            raise ProxyError(
                f"{self.header} must be given once, with one name of at most {LONGEST_NAME} characters, without commas"
            )
        role = self.role_of(who)
        if role is None:
            raise ProxyError("this account may not enter; ask who started the page")
        return role, who

    def role_of(self, who: str) -> Literal["editor", "reader"] | None:
        """Return a person's role; None if the settings do not name them. The case of ASCII names is ignored.

        >>> proxy = Proxy("X-Forwarded-User", "", (), "", ("me@lab.org",), ("*@lab.org",))
        >>> [proxy.role_of(who) for who in ("Me@lab.org", "you@lab.org", "me@lab.org.evil.example")]
        ['editor', 'reader', None]
        """
        name = _folded(who)
        if any(fnmatchcase(name, _folded(pattern)) for pattern in self.users):
            return "editor"
        return "reader" if any(fnmatchcase(name, _folded(pattern)) for pattern in self.readers) else None

    def _is_trusted(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        return any(address in ipaddress.ip_network(network) for network in self.addresses)


def _name(sent: str) -> str | None:
    r"""Return the name that a header holds; None for none, two (a list has commas), or one that is not plain text.

    >>> _name("me@lab.org"), _name("J\u00c3\u00bcrgen")  # as HTTP hands over UTF-8
    ('me@lab.org', 'Jürgen')
    >>> [_name(text) for text in ("", " ", "me,you", ",me", "me\x00", "me\t", "m\u00c3", "x" * 201)]
    [None, None, None, None, None, None, None, None]
    """
    try:
        text = sent.encode("latin-1").decode()
    except UnicodeError:
        return None
    is_plain = 0 < len(text) <= LONGEST_NAME and text.isprintable() and text == text.strip()
    return text if is_plain and "," not in text else None


def _folded(name: str) -> str:
    """Return a name for comparison; only ASCII is folded: other letters may become ASCII (the Kelvin sign a k)."""
    return name.lower() if name.isascii() else name


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _network(address: str) -> str:
    try:
        return str(ipaddress.ip_network(address))
    except ValueError as error:
        raise SettingError(
            f"trainctl.panel.trusted_proxies: {address!r} is not an address or a network, such as 127.0.0.1 or "
            "10.0.0.0/24"
        ) from error


def _public_url(url: str | None) -> str:
    """Return scheme and host of an address as a browser writes them in `Origin`.

    >>> _public_url("https://Lab.example:443/"), _public_url("http://127.0.0.1:4180")
    ('https://lab.example', 'http://127.0.0.1:4180')
    """
    try:
        parts = urlsplit(url or "")
        port, host = parts.port, parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in _DEFAULT_PORTS or parts.path.strip("/") or parts.query or parts.username:
        raise SettingError(
            f"trainctl.panel.public_url={url!r} must be the address under which people reach the proxy, without a "
            "path, such as https://lab.example"
        )
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}" + ("" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}")
