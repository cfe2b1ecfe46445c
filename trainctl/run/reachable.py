"""Whether a server is there, found out at once: W&B's client goes on trying for long, and does not say why."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit
from urllib.request import getproxies


def check_reachable(url: str, timeout_s: float) -> None:
    """Connect to the server of a URL and hang up; through a proxy nothing can be found out.

    Raises:
        OSError: nobody listens there.
    """
    if not getproxies():
        address = urlsplit(url)
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname or "", port), timeout=timeout_s).close()
