"""Names, origins and paths by which people reach the page from elsewhere, and what a request cannot say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from trainctl.config.settings import PanelSettings
from trainctl.errors import SettingError
from trainctl.panel.auth.access import Access, Admission, HttpRequest
from trainctl.panel.auth.front import Front
from trainctl.panel.server.launch import Listening, ways_from_elsewhere

URL = "http://127.0.0.1:8050/ab/?token=t"
LAB = Front.of(PanelSettings(hosts=["Lab.example"], origins=["https://hub.example/"], prefix="lab/"))


def judged(front: Front, host: str, *, path: str = "/ab/", **headers: str) -> Admission:
    """Return what is said to someone who has entered."""
    access = Access.of_url(URL, front=front)
    given = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return access.judge(
        HttpRequest("GET", path, headers=given, cookies={access.cookie_name: access.cookie_of("editor")})
    )


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1:9000", "[::1]:9000", "localhost", "LOCALHOST:1"])
def test_loopback_name_counts_with_any_port(host: str) -> None:
    own = f"http://{host.lower()}"
    assert judged(Front(), host).kind == "admit"
    assert judged(Front(), host, upgrade="websocket", origin=own).kind == "admit"


@pytest.mark.parametrize(
    "host",
    ["lab.example", "localhost.evil.example", "127.0.0.1.nip.io:8050", "127.0.0.2:8050", "localhost:", "a b", ""],
)
def test_other_name_is_refused_unless_it_is_named(host: str) -> None:
    assert judged(Front(), host).status == 421
    assert judged(LAB, host).kind == ("admit" if host == "lab.example" else "refuse")


@pytest.mark.parametrize(
    ("origin", "host", "is_own"),
    [
        ("http://localhost:9000", "localhost:9000", True),
        ("http://localhost:3000", "localhost:9000", False),  # another program of this machine
        ("http://localhost:9000", "127.0.0.1:9000", False),
        ("https://localhost:9000", "localhost:9000", False),
        ("https://lab.example", "lab.example", True),  # the proxy's TLS
        ("http://lab.example:8443", "lab.example:8443", True),
        ("https://lab.example", "127.0.0.1:8050", True),  # a proxy that sends its own Host
        ("https://hub.example", "localhost:8050", True),
        ("http://hub.example", "localhost:8050", False),
        ("https://evil.example", "lab.example", False),
        ("https://lab.example.evil.example", "lab.example", False),
        ("null", "lab.example", False),
        ("vscode-webview://lab.example", "lab.example", False),
    ],
)
def test_only_the_pages_own_sites_may_open_its_websocket(origin: str, host: str, is_own: bool) -> None:
    assert judged(LAB, host, upgrade="websocket", origin=origin).kind == ("admit" if is_own else "refuse")


def test_page_of_an_editor_may_be_named() -> None:
    front = Front.of(PanelSettings(origins=["vscode-webview://1f3a"]))
    assert judged(front, "localhost:8050", upgrade="websocket", origin="vscode-webview://1f3a").kind == "admit"


@pytest.mark.parametrize("header", ["x_forwarded_host", "x_forwarded_server", "forwarded", "x_original_host"])
def test_forwarded_headers_say_nothing(header: str) -> None:
    value = "host=lab.example" if header == "forwarded" else "lab.example"
    assert judged(LAB, "evil.example", **{header: value}).status == 421
    forged: dict[str, Any] = {header: value, "x_forwarded_proto": "https", "origin": "https://127.0.0.1:8050"}
    assert judged(LAB, "127.0.0.1:8050", **forged).status == 403


@pytest.mark.parametrize(
    ("host", "before", "path", "cookie"),
    [
        ("127.0.0.1:8050", "", "/ab/", ""),  # the browser's own directory, whatever a proxy has taken off
        ("lab.example", "/lab", "/ab/", ""),
        ("lab.example", "/lab", "/ab/run/a", "/lab/ab"),
        ("lab.example", "", "/ab/run/a", "/lab/ab"),  # taken off
        ("127.0.0.1:8050", "", "/ab/run/a", "/ab"),
        ("localhost:9000", "/a;Domain=evil.example", "/ab/run/a", "/ab"),
        ("localhost:9000", "/user/me/proxy/absolute/8050", "/ab/run/a", "/user/me/proxy/absolute/8050/ab"),
    ],
)
def test_cookie_is_for_the_page_alone(host: str, before: str, path: str, cookie: str) -> None:
    access = Access.of_url(URL, front=LAB)
    request = HttpRequest("GET", path, "token=t", {"host": host}, before=before)
    verdict = access.judge(request)
    assert (verdict.kind, verdict.path) == ("welcome", cookie)
    assert replace(access, scheme="https").judge(request).path == "/", "as __Host- wants it"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hosts": ["https://lab.example"]}, r"hosts has 'https://lab.example', which is not a name; give names as"),
        ({"hosts": ["lab.example/x"]}, "which is not a name"),
        ({"hosts": ["*"]}, "which is not a name"),
        ({"hosts": [""]}, "which is not a name"),
        ({"origins": ["lab.example"]}, "origins has 'lab.example', which is not an origin; give scheme and name"),
        ({"origins": ["*"]}, "which is not an origin"),
        ({"origins": ["https://lab.example/x"]}, "which is not an origin"),
        ({"prefix": "/a/../b"}, "is not a path"),
        ({"prefix": "https://lab.example/x"}, "is not a path"),
        ({"prefix": "/a?b"}, "is not a path"),
        ({"prefix": "/{x}"}, "is not a path"),
        ({"prefix": "/a b\nSet-Cookie: x"}, "is not a path"),
    ],
)
def test_setting_that_cannot_be_meant_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=rf"trainctl\.panel\..*{words}"):
        Listening.of(PanelSettings(**settings))


def test_front_is_handed_over_and_sealed() -> None:
    assert Front.from_dict(LAB.to_dict()) == LAB
    plain, named = Listening.of(PanelSettings()), Listening.of(PanelSettings(hosts=["lab.example"]))
    assert plain.sealed(URL) != named.sealed(URL)
    assert Front.from_dict(named.handed_over["front"]).hosts == {"lab.example"}


def test_way_through_the_proxy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)
    assert ways_from_elsewhere(PanelSettings(), URL) == []
    settings = PanelSettings(hosts=["lab.example"], origins=["https://lab.example"], prefix="/lab")
    assert ways_from_elsewhere(settings, URL) == ["through the proxy: https://lab.example/lab/ab/?token=t"]
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/me/")
    (line,) = ways_from_elsewhere(PanelSettings(), URL)
    place = "/user/me/proxy/8050/ab/?token=t"
    assert line == f"through JupyterHub (needs trainctl.panel.hosts=[HOST]): http://HOST{place}"
    (line,) = ways_from_elsewhere(PanelSettings(hosts=["hub.example"]), URL)
    assert line == f"through JupyterHub: http://hub.example{place}"
    (line,) = ways_from_elsewhere(PanelSettings(hosts=["hub.example"], origins=["https://hub.example"]), URL)
    assert line == f"through JupyterHub: https://hub.example{place}"
    assert ways_from_elsewhere(settings, URL) == ["through the proxy: https://lab.example/lab/ab/?token=t"]
