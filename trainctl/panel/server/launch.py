"""Start the page's server: where it listens, its names and certificate, its lock, its process. Does not load Panel."""

from __future__ import annotations

import contextlib
import dataclasses
import hmac
import ipaddress
import json
import os
import secrets
import site
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trainctl import __version__
from trainctl.attempt.host import why_no_process
from trainctl.config.settings import PanelSettings
from trainctl.errors import RunDirError, SettingError
from trainctl.panel.auth.front import FRONT_ALONE, PORT, Front
from trainctl.panel.auth.password import PASSWORD, USER, Credentials
from trainctl.panel.auth.proxy import Proxy
from trainctl.panel.server.state import PanelDir, ServerRecord

_BACKLOG = 4096  # connections that wait for the server; beyond, a client retries after a second


def listening_address(address: str, *, has_login: bool = False) -> str:
    """Return the numeric form of an address to listen on; one that other machines reach only if people must log in.

    Raises:
        SettingError: it is not an address, or would show the page to other machines without a login.

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
        f"{PASSWORD} are set in the environment or trainctl.panel.user_header names a proxy's header"
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


def ways_from_elsewhere(settings: PanelSettings, url: str) -> list[str]:
    """Return lines that say how to reach the page through the configured proxy, JupyterHub, or ssh."""
    front, lines = Front.of(settings), []
    base = os.environ.get("JUPYTERHUB_SERVICE_PREFIX")
    if base is not None and not front.prefix:
        needs = "" if front.hosts or front.origins else " (needs trainctl.panel.hosts=[HOST])"
        front = dataclasses.replace(front, prefix=f"{base.rstrip('/')}/proxy/{PORT}")
        lines.append(f"through JupyterHub{needs}: {front.public_url(url)}")
    elif (link := front.public_url(url)) is not None:
        lines.append(f"through the proxy: {link}")
    if (command := ssh_line(url)) is not None:
        lines.append(f"to see it on the machine you came from: {command}")
    return lines


def ssh_line(url: str, environment: dict[str, str] | None = None) -> str | None:
    """Return the command that forwards the page to the machine of an ssh client; None without ssh."""
    given = dict(os.environ) if environment is None else environment
    parts = urlsplit(url)
    if "SSH_CONNECTION" not in given or parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        return None
    here = given["SSH_CONNECTION"].split(" ")[2:3] or [socket.gethostname()]
    user = given.get("USER") or given.get("LOGNAME") or "USER"
    return f"ssh -N -L {parts.port}:{parts.hostname}:{parts.port} {user}@{here[0]}"


# A fork by another thread while a server is being started would leave its lock and socket open in a worker.
_starting = threading.Lock()
os.register_at_fork(before=_starting.acquire, after_in_parent=_starting.release, after_in_child=_starting.release)


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a new server listens, and who may enter besides those with the link."""

    address: str
    port: int
    keep_min: float
    credentials: Credentials | None
    proxy: Proxy | None
    certificate: dict[str, str] | None
    front: Front = FRONT_ALONE

    @classmethod
    def of(cls, settings: PanelSettings) -> Listening:
        """Read what the settings and the environment say.

        Raises:
            SettingError: an address that would show the page to other machines without a login; a wrong certificate.
        """
        credentials, proxy = Credentials.of_environment(), Proxy.of(settings)
        has_login = credentials is not None or proxy is not None
        address = listening_address(settings.address, has_login=has_login)
        front, certificate = Front.of(settings), certificate_of(settings)
        return cls(address, settings.port, settings.keep_min, credentials, proxy, certificate, front)

    @property
    def handed_over(self) -> dict[str, Any]:
        """What the server's process reads from its standard input."""
        return {
            "names": names_of(self.address),
            "credentials": self.credentials.to_dict() if self.credentials is not None else None,
            "proxy": self.proxy.to_dict() if self.proxy is not None else None,
            "certificate": self.certificate,
            "front": self.front.to_dict(),
        }

    def sealed(self, url: str) -> str:
        """Return the settings as a seal that only a holder of the link can make: a password is part of it."""
        asked: dict[str, Any] = {"version": __version__, "address": self.address, "port": self.port}
        asked["certificate"], asked["front"] = self.certificate, self.front.to_dict()
        asked["login"] = [os.environ.get(USER), os.environ.get(PASSWORD)] if self.credentials is not None else None
        asked["proxy"] = self.proxy.to_dict() if self.proxy is not None else None
        return hmac.new(url.encode(), json.dumps(asked, sort_keys=True).encode(), "sha256").hexdigest()


def start(
    place: PanelDir, listening: Listening, *, opens: bool = False, again: bool = False
) -> tuple[ServerRecord, subprocess.Popen[bytes]] | None:
    """Start a server and return its record; None when one holds the lock already.

    The child inherits the locked descriptor, so the lock is held without a gap and exactly as long as the child lives;
    and the listening socket, so a browser that comes before the server is up waits instead of being refused.

    Args:
        place: where the server's files are.
        listening: where it listens, and for whom.
        opens: show the page in a browser.
        again: in place of one that was killed or hung; this is done once.

    Raises:
        OSError: it cannot be started.
    """
    with _starting:
        lock = place.take(place.server_lock)
        if lock is None:
            return None
        try:
            crashed = place.read_record()  # one that ended well has left none
            place.forget()
            with _listen_again(crashed, listening) as listener:
                url = _url(listening, listener.getsockname()[1], crashed)
                told = {"root": str(place.root), "url": url, "socket": listener.fileno(), "lock": lock, "open": opens}
                told |= listening.handed_over
                # first with this pid: nobody has to wait while the child is made
                seal, keep_min = listening.sealed(url), listening.keep_min
                of = partial(ServerRecord.of_process, url, keep_min=keep_min, again=again, asked=seal)
                place.write_record(of(os.getpid()))
                child = _spawn(place, told, (listener.fileno(), lock), again=again)
                place.write_record(record := of(child.pid))
                return record, child
        except BaseException:
            place.forget()
            raise
        finally:
            os.close(lock)


def _url(listening: Listening, port: int, crashed: ServerRecord | None) -> str:
    """Return the link: that of the server that was killed, so that open pages and known links go on, or a new one."""
    scheme = "http" if listening.certificate is None else "https"
    base = f"{scheme}://{shown_host(listening.address)}:{port}/"
    if crashed is not None and crashed.url.startswith(base):
        return crashed.url
    return f"{base}{secrets.token_hex(4)}/?token={secrets.token_urlsafe(32)}"


def _listen_again(crashed: ServerRecord | None, listening: Listening) -> socket.socket:
    """Listen where a killed server listened, if that is still wanted and possible."""
    if crashed is not None and crashed.host == socket.gethostname() and listening.port == 0:
        with contextlib.suppress(OSError, ValueError):
            return _listen(listening.address, urlsplit(crashed.url).port or 0)
    return _listen(listening.address, listening.port)


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise OSError(f"trainctl.panel.port={port} on {address} cannot be used: {error.strerror or error}") from error


def _spawn(
    place: PanelDir, told: dict[str, object], descriptors: tuple[int, ...], *, again: bool
) -> subprocess.Popen[bytes]:
    """Start the server in its own session (Ctrl-C is for the trainer); secrets are passed on its standard input."""
    begin = os.O_APPEND if again else os.O_TRUNC  # it may say why the first one ended
    output = os.open(place.log, os.O_WRONLY | os.O_CREAT | begin | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "trainctl.panel", str(place.root)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=descriptors,
            cwd=place.path,  # -m looks there first: the user's directory may hold a panel.py
            env=_environment(),
            start_new_session=True,
        )
    except OSError as error:
        raise RunDirError(f"its process cannot be started: {why_no_process(error)}") from error
    finally:
        os.close(output)
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it died already; failure() says why
        child.stdin.write(json.dumps(told).encode())
        child.stdin.close()
    return child


def _environment() -> dict[str, str]:
    """Return the server's environment: no device, one thread, nothing that loosens Bokeh's or Panel's own checks."""
    environment = {
        key: text for key, text in os.environ.items() if not key.startswith(("BOKEH_", "PANEL_", "TRAINCTL_"))
    }
    paths = [os.path.abspath(path) for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    home = str(Path(__file__).resolve().parents[3])
    if home not in (*paths, *site.getsitepackages(), site.getusersitepackages()):
        paths.append(home)  # a fresh interpreter elsewhere would not find trainctl
    if paths:
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    return {**environment, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
