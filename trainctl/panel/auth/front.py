"""How people reach the page other than by its own address: a tunnel, a container's port, a reverse proxy. Light.

A name is what a browser sends as `Host`. Loopback names count with any port: a tunnel (`ssh -L`, VS Code, `docker -p`)
has its own, and no site on the internet can make a browser send them. `X-Forwarded-Host` and the like are never read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from trainctl.config.settings import PanelSettings
from trainctl.errors import SettingError

PORT = "{port}"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_NAME = re.compile(r"([a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9\[][a-z0-9._:\[\]-]*")
PATH = re.compile(r"(/[A-Za-z0-9._~@%-]+)*")


@dataclass(frozen=True, slots=True)
class Front:
    """Names, origins and a path that are the page's own besides its address.

    Attributes:
        hosts: names, in lower case; one without a port counts with any.
        origins: sites whose pages may ask, as browsers write them.
        prefix: the path below which a proxy serves the page: `` or `/lab/trainctl`; `{port}` is the page's port.
    """

    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    prefix: str = ""

    @classmethod
    def of(cls, settings: PanelSettings) -> Front:
        """Read the settings.

        Raises:
            SettingError: what they name cannot be a name, an origin or a path.
        """
        hosts = [host.lower() for host in settings.hosts]
        for host in hosts:
            if not _NAME.fullmatch(host):
                raise SettingError(
                    f"trainctl.panel.hosts has {host!r}, which is not a name; give names as a browser shows them, "
                    "without http:// and path, such as lab.example or lab.example:8443"
                )
        origins = [origin.lower().rstrip("/") for origin in settings.origins]
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise SettingError(
                    f"trainctl.panel.origins has {origin!r}, which is not an origin; give scheme and name, without a "
                    "path, such as https://lab.example"
                )
        prefix = "".join(f"/{part}" for part in (settings.prefix or "").split("/") if part)
        if not PATH.fullmatch(prefix.replace(PORT, "0")) or ".." in prefix.split("/"):
            raise SettingError(
                f"trainctl.panel.prefix={settings.prefix!r} is not a path; give the one below which a proxy serves the "
                "page, such as /trainctl or /user/me/proxy/{port}"
            )
        return cls(frozenset(hosts), frozenset(origins), prefix)

    def to_dict(self) -> dict[str, Any]:
        """Return the dictionary that the server's process is given."""
        return {"hosts": sorted(self.hosts), "origins": sorted(self.origins), "prefix": self.prefix}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Front:
        """Read what `to_dict` wrote."""
        return cls(frozenset(told["hosts"]), frozenset(told["origins"]), told["prefix"])

    def knows(self, host: str) -> bool:
        """Whether a `Host` is one of the names, or a loopback name with whatever port.

        >>> front = Front(frozenset({"lab.example", "other.example:8443"}))
        >>> [front.knows(host) for host in ("Lab.example", "lab.example:80", "localhost:9000", "other.example:8443")]
        [True, True, True, True]
        >>> [front.knows(host) for host in ("other.example", "lab.example.evil", "127.0.0.1.evil", "localhost:x", "")]
        [False, False, False, False, False]
        """
        name, port = _split(host)
        return name in LOOPBACK or name in self.hosts or (port != "" and f"{name}:{port}" in self.hosts)

    def owns(self, origin: str, host: str, scheme: str) -> bool:
        """Whether an origin is the page's own: that of the requested `Host`, of a named host, or a named origin.

        A loopback name with another port is another program's.
        """
        if origin.lower() in self.origins:
            return True
        kind, _, name = origin.lower().partition("://")
        if _split(name)[0] in LOOPBACK:
            return kind == scheme and name == host.lower() and self.knows(host)
        return kind in ("http", "https") and self.knows(name)

    def public_url(self, url: str) -> str | None:
        """Return the link through the proxy; None if the settings name no proxy.

        >>> Front(frozenset({"lab.example"}), frozenset({"https://lab.example"}), "/t").public_url("http://h:1/ab/?token=x")
        'https://lab.example/t/ab/?token=x'
        >>> Front(prefix="/user/me/proxy/{port}").public_url("http://127.0.0.1:8050/ab/?token=x")
        'http://HOST/user/me/proxy/8050/ab/?token=x'
        """
        if not (self.hosts or self.origins or self.prefix):
            return None
        parts = urlsplit(url)
        sites = sorted(origin for origin in self.origins if origin.startswith("http"))
        site = sites[0] if sites else f"{parts.scheme}://{min(self.hosts, default='HOST')}"
        return f"{site}{self.path(parts.port)}{parts.path}?{parts.query}"

    def path(self, port: int | None) -> str:
        """Return the path below which the page of a port is served."""
        return self.prefix.replace(PORT, str(port))


FRONT_ALONE = Front()  # nothing but the address itself, and loopback names


def _split(host: str) -> tuple[str, str]:
    """Return name and port of what a browser sends as `Host`; no name where it is none.

    >>> _split("Lab.example:80"), _split("[::1]:1"), _split("a:b"), _split("localhost")
    (('lab.example', '80'), ('[::1]', '1'), ('', ''), ('localhost', ''))
    """
    host = host.lower()
    if not _NAME.fullmatch(host):
        return "", ""
    name, _, port = host.rpartition(":")
    return (name, port) if name and port.isdecimal() and not host.endswith("]") else (host, "")
