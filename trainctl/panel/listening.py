"""Where a server listens, under which names it answers, and by which certificate. Light: nothing here loads panel."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from urllib.parse import urlsplit

from trainctl.config.settings import PanelSettings
from trainctl.errors import SettingError
from trainctl.panel.credentials import PASSWORD, USER


def listening_address(address: str, *, has_login: bool = False) -> str:
    """Return the numeric form of an address to listen on; one that other machines reach only if people must log in.

    Raises:
        SettingError: it is none, or would show the page to other machines without a login.

    >>> listening_address("localhost")
    '127.0.0.1'
    """
    number = "127.0.0.1" if address == "localhost" else address
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(number).is_loopback or has_login:
            return number
    raise SettingError(
        f"trainctl.panel.address={address!r} would show the page to other machines; allowed are 127.0.0.1, ::1 and "
        f"localhost (from elsewhere: ssh -L PORT:127.0.0.1:PORT), or any address of this machine when {USER} and "
        f"{PASSWORD} are set in the environment or trainctl.panel.oauth names a provider"
    )


def names_of(address: str) -> list[str]:
    """Return the names and addresses besides its own under which a server that listens there is reached."""
    if ipaddress.ip_address(address).is_loopback:
        return []
    import psutil  # not needed by most, and this module is loaded with every Hydra job

    own = {socket.gethostname(), socket.getfqdn(), "localhost"}
    own |= {one.address for found in psutil.net_if_addrs().values() for one in found if one.family == socket.AF_INET}
    return sorted(own)


def shown_host(address: str) -> str:
    """Return the host in the URL that a person is given."""
    if ipaddress.ip_address(address).is_unspecified:
        return socket.gethostname()
    return f"[{address}]" if ":" in address else address


def certificate_of(settings: PanelSettings) -> dict[str, str] | None:
    """Return the files to serve TLS with; None for plain HTTP.

    Raises:
        SettingError: one of both is missing, or cannot be read.
    """
    if settings.cert is None and settings.key is None:
        return None
    if settings.cert is None or settings.key is None:
        missing = "cert" if settings.cert is None else "key"
        raise SettingError(f"trainctl.panel.{missing} is missing: TLS needs the files of a certificate and of its key")
    for name, path in (("cert", settings.cert), ("key", settings.key)):
        if not os.access(path, os.R_OK):
            raise SettingError(f"trainctl.panel.{name}={path!r} cannot be read; give the path of a PEM file")
    return {"cert": os.path.abspath(settings.cert), "key": os.path.abspath(settings.key)}


def ssh_line(url: str, environment: dict[str, str] | None = None) -> str | None:
    """Return the command that brings a page to the machine from which somebody has come by ssh; None without ssh."""
    given = dict(os.environ) if environment is None else environment
    parts = urlsplit(url)
    if "SSH_CONNECTION" not in given or parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        return None
    here = given["SSH_CONNECTION"].split(" ")[2:3] or [socket.gethostname()]
    user = given.get("USER") or given.get("LOGNAME") or "USER"
    return f"ssh -N -L {parts.port}:{parts.hostname}:{parts.port} {user}@{here[0]}"
