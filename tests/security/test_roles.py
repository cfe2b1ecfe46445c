"""Who may do what: readers, passwords, addresses that others reach, TLS, and another user of this machine."""

from __future__ import annotations

import base64
import http.client
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from trainctl.config.settings import PanelSettings
from trainctl.errors import SettingError
from trainctl.panel.auth.access import Access, HttpRequest, reader_token, reader_url
from trainctl.panel.auth.password import MOST_GUESSES, MOST_OF_CLIENT, Credentials, Guesses
from trainctl.panel.server import handle as process
from trainctl.panel.server.launch import listening_address, ssh_line
from trainctl.panel.server.state import PanelDir

URL = "http://127.0.0.1:5/p/?token=secret"
HOST = {"host": "127.0.0.1:5"}


def basic(user: str, password: str) -> dict[str, str]:
    return {**HOST, "authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def ask(url: str, headers: dict[str, str], context: ssl.SSLContext | None = None) -> tuple[int, str]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    if context is None:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=240)
    else:
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=240, context=context)
    try:
        connection.request("GET", parts.path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


def test_reader_is_told_from_editor_by_link_cookie_and_bearer() -> None:
    access = Access.of_url(URL)
    reader = reader_token("secret")
    assert reader != "secret"
    assert access.judge(HttpRequest("GET", "/p/", f"token={reader}", HOST)).role == "reader"
    assert access.judge(HttpRequest("GET", "/p/", "token=secret", HOST)).role == "editor"
    assert (
        access.judge(HttpRequest("GET", "/p/", headers={**HOST, "authorization": f"Bearer {reader}"})).role == "reader"
    )
    for role, cookie in (("reader", access.cookie_of("reader")), ("editor", access.cookie_of("editor"))):
        verdict = access.judge(HttpRequest("GET", "/p/", headers=HOST, cookies={access.cookie_name: cookie}))
        assert (verdict.kind, verdict.role) == ("admit", role)
    assert reader_url(URL) == f"http://127.0.0.1:5/p/?token={reader}"


NAVIGATE = {"sec-fetch-mode": "navigate"}


def test_password_is_checked_apart_and_gives_a_browser_a_cookie() -> None:
    access = Access.of_url(URL, credentials=Credentials.of("me", "correct horse"))
    assert access.judge(HttpRequest("GET", "/p/", headers=HOST)).status == 401
    asked = HttpRequest("GET", "/p/run/a", "tab=log", {**basic("me", "?"), **NAVIGATE})
    assert access.judge(asked).kind == "check"
    assert access.judge(HttpRequest("GET", "/elsewhere", headers=basic("me", "?"))).status == 404
    entered = access.entered(asked, "me")
    assert (entered.kind, entered.target, entered.role, entered.who) == ("welcome", "/p/run/a?tab=log", "editor", "me")
    assert access.entered(HttpRequest("GET", "/p/", headers=basic("me", "?")), "me").kind == "admit"
    cookies = {access.cookie_name: access.cookie_of("editor", "me")}
    known = access.judge(HttpRequest("GET", "/p/", headers=basic("me", "whatever"), cookies=cookies))
    assert (known.kind, known.role, known.who) == ("admit", "editor", "me")
    other = Access.of_url(URL, credentials=Credentials.of("me", "another one"))  # the password was changed
    assert other.judge(HttpRequest("GET", "/p/", headers=HOST, cookies=cookies)).status == 401


def test_cookies_are_bound_to_their_server() -> None:
    plain = Access.of_url(URL)
    secure = Access.of_url(URL.replace("http:", "https:"))
    assert (plain.cookie_name, plain.cookie_path) == ("trainctl-5-p", "/p")
    assert (secure.cookie_name, secure.cookie_path) == ("__Host-trainctl-p", "/")


GUESS = """
import base64, http.client, os, sys
port, path, user, number = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
for guess in range(number):
    word = base64.b64encode(f"{user}:guess {guess}".encode()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=240)
    connection.request("GET", path, headers={"Authorization": f"Basic {word}"})
    print(connection.getresponse().status, flush=True)
    connection.close()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_guesses_of_another_user_lock_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINCTL_USERNAME", "me")
    monkeypatch.setenv("TRAINCTL_PASSWORD", "correct horse")
    handle = process.ensure(tmp_path, PanelSettings(keep_min=0))
    assert handle is not None
    try:
        parts = urlsplit(handle.url)
        python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
        command = [python, "-c", GUESS, str(parts.port), parts.path]
        told = subprocess.run([*command, "me", "8"], capture_output=True, text=True, timeout=280, check=True, cwd="/")
        assert told.stdout.split() == ["401"] * MOST_GUESSES + ["429"] * 3
        assert ask(handle.url, {"Authorization": basic("me", "correct horse")["authorization"]})[0] == 200
        for guess in range(MOST_GUESSES):
            assert ask(handle.url, {"Authorization": basic("me", f"slip {guess}")["authorization"]})[0] == 401
        assert ask(handle.url, {"Authorization": basic("me", "correct horse")["authorization"]})[0] == 429
        token = dict(parse_qsl(parts.query))["token"]
        assert ask(handle.url, {"Authorization": f"Bearer {token}"})[0] == 200  # the link still works
    finally:
        handle.close()


def test_guesses_are_counted_by_client_and_user() -> None:
    guesses = Guesses()
    for _ in range(MOST_GUESSES):
        guesses.note("a", "me")
    assert [guesses.is_closed(*each) for each in (("a", "me"), ("a", "you"), ("b", "me"))] == [True, False, False]
    for number in range(MOST_OF_CLIENT):
        guesses.note("c", f"user {number}")
    assert [guesses.is_closed(*each) for each in (("c", "me"), ("b", "me"))] == [True, False]


def test_password_is_kept_as_a_hash_only() -> None:
    known = Credentials.of("me", "correct horse")
    assert "correct horse" not in str(known)
    assert Credentials.of("me", "correct horse").digest != known.digest  # salted


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"TRAINCTL_USERNAME": "me"}, "TRAINCTL_PASSWORD is not set, but TRAINCTL_USERNAME is"),
        ({"TRAINCTL_PASSWORD": "correct horse"}, "TRAINCTL_USERNAME is not set, but TRAINCTL_PASSWORD is"),
        ({"TRAINCTL_USERNAME": "me", "TRAINCTL_PASSWORD": "short"}, "must have at least 8 characters"),
    ],
)
def test_half_a_password_is_refused(environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        Credentials.of_environment(environment)


def test_address_that_others_reach_needs_a_password() -> None:
    with pytest.raises(SettingError, match="when TRAINCTL_USERNAME and TRAINCTL_PASSWORD are set"):
        listening_address("0.0.0.0")
    assert listening_address("0.0.0.0", has_login=True) == "0.0.0.0"


def test_server_with_password_and_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cert, key = certificate(tmp_path)
    monkeypatch.setenv("TRAINCTL_USERNAME", "me")
    monkeypatch.setenv("TRAINCTL_PASSWORD", "correct horse")
    handle = process.ensure(tmp_path / "root", PanelSettings(keep_min=0, cert=str(cert), key=str(key)))
    assert handle is not None
    try:
        assert handle.url.startswith("https://127.0.0.1:")
        trusted = ssl.create_default_context(cafile=str(cert))
        trusted.check_hostname = False
        assert ask(handle.url, {}, trusted)[0] == 401
        header = {"Authorization": basic("me", "correct horse")["authorization"]}
        assert ask(handle.url, header, trusted)[0] == 200
        record = process.find(tmp_path / "root")
        assert record is not None
        for name in ("cmdline", "environ"):
            assert b"correct horse" not in Path(f"/proc/{record.pid}/{name}").read_bytes()
        with pytest.raises(OSError):  # noqa: PT011  # plain HTTP: closed or reset, as it comes
            ask(handle.url, {})
    finally:
        handle.close()


@pytest.mark.parametrize("settings", [{"cert": "a.pem"}, {"key": "k.pem"}, {"cert": "/nowhere", "key": "/nowhere"}])
def test_half_a_certificate_is_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"trainctl\.panel\.(cert|key)"):
        process.ensure(tmp_path, PanelSettings(**settings))


def test_ssh_line_leads_to_the_page() -> None:
    line = ssh_line(URL, {"SSH_CONNECTION": "10.0.0.9 5000 10.0.0.5 22", "USER": "me"})
    assert line == "ssh -N -L 5:127.0.0.1:5 me@10.0.0.5"
    assert ssh_line(URL, {}) is None


STRANGER = """
import os, sys, urllib.request, urllib.error
os.setgroups([]); os.setgid({gid}); os.setuid({uid})
seen = []
for path in {paths!r}:
    try:
        open(path, "rb").read(); seen.append(path)
    except OSError:
        pass
try:
    seen.append(urllib.request.urlopen({url!r}, timeout=240).status)
except urllib.error.HTTPError as error:
    print(error.code)
print(seen)
"""


@pytest.fixture
def shared_root() -> Iterator[Path]:
    """A root that every user of the machine can walk to: pytest's own directories are closed to others."""
    root = Path("/tmp") / f"trainctl-test-{os.getpid()}-{time.monotonic_ns()}"
    root.mkdir(mode=0o755)
    yield root
    shutil.rmtree(root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_another_user_of_the_machine_gets_nothing(shared_root: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    handle = process.ensure(shared_root, PanelSettings(keep_min=0))
    assert handle is not None
    try:
        place = PanelDir(shared_root)
        record = process.find(shared_root)
        assert record is not None
        proc = f"/proc/{record.pid}"
        paths = [str(place.record), str(place.log), str(place.users_lock), f"{proc}/environ", f"{proc}/mem"]
        paths += [f"{proc}/fd/0"]
        code = STRANGER.format(uid=nobody.pw_uid, gid=nobody.pw_gid, paths=paths, url=handle.url.partition("?")[0])
        # a Python of the system: that of an environment below root's home may be closed to others
        python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
        told = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=280, check=True, cwd="/")
        assert told.stdout.split("\n")[:2] == ["403", "[]"]
    finally:
        handle.close()


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate that signs itself."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return cert, key


def test_port_of_the_page_is_on_loopback_only(tmp_path: Path) -> None:
    handle = process.ensure(tmp_path, PanelSettings(keep_min=0))
    assert handle is not None
    try:
        port = urlsplit(handle.url).port
        assert port is not None
        own = socket.gethostbyname(socket.gethostname())
        if own.startswith("127."):
            own = "127.0.0.2"  # another address of this machine: nothing listens there either
        with pytest.raises(OSError), socket.create_connection((own, port), timeout=10):  # noqa: PT011
            pass
    finally:
        handle.close()
