"""Show the page in a browser, by way of a private file: a browser's command line can be read by everybody."""

from __future__ import annotations

import subprocess
import sys
from html import escape

from trainctl.panel.server.state import PanelDir


def way_to(place: PanelDir, url: str) -> str:
    """Write the file that leads a browser to the page, and return its address."""
    target = escape(url, quote=True)
    place.write_private(
        place.opener, f'<!doctype html><meta http-equiv="refresh" content="0;url={target}"><title>trainctl</title>\n'
    )
    return place.opener.as_uri()


def open_apart(place: PanelDir, url: str) -> subprocess.Popen[bytes]:
    """Open a browser from a process apart: some do not return, or write on the terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "webbrowser", way_to(place, url)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=place.path,
        start_new_session=True,
    )
