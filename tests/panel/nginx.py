"""A real nginx in front of the page: on a loopback port, with a config directory of its own, ended by its pid."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from waiting import wait_until

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin:{sys.prefix}/nginx/usr/sbin")
CONFIG = """
daemon off;
worker_processes 1;
pid {here}/nginx.pid;
error_log {here}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {here}/body;
    proxy_temp_path {here}/proxy;
    fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi;
    scgi_temp_path {here}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
    server {{
        listen 127.0.0.1:{port};
        {locations}
    }}
}}
"""


@contextmanager
def nginx(directory: Path, port: int, locations: str) -> Iterator[None]:
    """Serve locations on a port until the context ends."""
    if NGINX is None:
        pytest.skip("there is no nginx here (make nginx)")
    directory.mkdir()
    (directory / "nginx.conf").write_text(CONFIG.format(here=directory, port=port, locations=locations))
    command = [NGINX, "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")]
    with open(directory / "output", "w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={"PATH": os.environ["PATH"]})
    try:
        wait_until(lambda: _listens(port) or process.poll() is not None, "nginx")
        assert process.poll() is None, (directory / "output").read_text()
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
