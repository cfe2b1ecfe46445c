"""The page behind a real nginx: under a name, below a path that is passed on or taken off, as by Jupyter's proxy."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest
from browsing import CHROMIUM, FLAGS, NAME, PATIENCE_S, Training, api, button, edit, expect, settle, shot, wait_for
from browsing import value as value_of
from nginx import CONFIG, free_port, nginx
from omegaconf import OmegaConf

from trainctl.config.settings import PanelSettings, settings_of
from trainctl.panel.auth.front import Front
from trainctl.panel.server import handle as process

DOCUMENT = Path(__file__).parents[2] / "docs/elsewhere.md"
# What jupyter-server-proxy does with a path is the last two.
LOCATIONS = """
        {documented}
        location /taken/off/ {{
            proxy_pass http://127.0.0.1:{page}/;
            {passed_on}
        }}
        location ~ ^/user/me/proxy/absolute/(\\d+)/ {{
            proxy_pass http://127.0.0.1:$1$request_uri;
            {passed_on}
        }}
        location ~ ^/user/me/proxy/(\\d+)(/.*)$ {{
            proxy_pass http://127.0.0.1:$1$2$is_args$args;
            {passed_on}
        }}
"""
PASSED_ON = """
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_read_timeout 1h;
"""
PATHS = ["/lab", "/taken/off", "/user/me/proxy/absolute/{page}", "/user/me/proxy/{page}"]


def documented_config() -> tuple[str, str]:
    """Return what the document has for nginx: what belongs beside the server, and into it."""
    found = re.search(r"^```nginx\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    beside, _, inside = found[1].partition("\n\n")
    return beside, inside


def test_settings_of_the_document_are_allowed() -> None:
    assert documented_config()[0] in CONFIG.replace("{{", "{").replace("}}", "}")
    text = DOCUMENT.read_text()
    given = re.findall(r"trainctl\.panel\.(\w+)=([^\s`]+)", text)
    assert {name for name, _ in given} == {"address", "port", "hosts", "origins", "prefix"}
    for name, value in given:
        config = OmegaConf.create({"trainctl": {"panel": OmegaConf.from_dotlist([f"{name}={value}"])}})
        settings = settings_of(config).panel
        assert getattr(settings, name) != getattr(PanelSettings(), name)
        Front.of(settings)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser for which lab.example is this machine."""
    with api.sync_playwright() as playwright:
        flags = [*FLAGS, "--host-resolver-rules=MAP lab.example 127.0.0.1"]
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


@pytest.fixture(scope="module")
def url(training: Training) -> Iterator[str]:
    settings = PanelSettings(keep_min=0, hosts=["lab.example"], prefix="/lab")
    handle = process.ensure(training.run.path.parent, settings)
    assert handle is not None
    yield handle.url
    handle.close()


@pytest.fixture(scope="module")
def proxy(base: Path, url: str) -> Iterator[int]:
    port, own = free_port(), str(urlsplit(url).port)
    _, documented = documented_config()
    locations = LOCATIONS.format(documented=documented.replace("8050", own), page=own, passed_on=PASSED_ON)
    with nginx(base / "nginx", port, locations):
        yield port


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.set_default_timeout(1000 * PATIENCE_S)
    page = context.new_page()
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(error.stack or str(error)))
    page.on(
        "response", lambda answer: page.wrong.append(f"{answer.status} {answer.url}") if answer.status > 399 else None
    )
    yield page
    context.close()


def apply(page: Any, training: Training, value: int) -> None:
    """Edit a key on the run's page, and see the new value arrive in the training."""
    page.get_by_role("link", name=NAME, exact=True).click()
    expect(value_of(page, "sched.warmup")).to_be_visible()
    settle(page)
    edit(page, "sched.warmup", str(value))
    expect(button(page, "Apply")).to_be_enabled()
    button(page, "Apply").click()
    expect(page.get_by_role("status")).to_have_text(re.compile(r"applied at step \d+"))
    wait_for(lambda: training.sees(warmup=value), "the value in the training process")


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_link_below_a_path_of_a_proxy_opens_the_page_with_all_that_it_loads(url: str, proxy: int, path: str) -> None:
    parts = urlsplit(url)
    begin = f"http://127.0.0.1:{proxy}{path.format(page=parts.port)}{parts.path}"
    browser = build_opener(HTTPCookieProcessor())
    for link in (f"{begin}?{parts.query}", f"{begin}run/{NAME}"):
        with browser.open(link, timeout=PATIENCE_S) as answer:
            assert answer.url == link.partition("?")[0]
            loaded = {urljoin(link, each) for each in re.findall(r'(?:src|href)="([^"]+)"', answer.read().decode())}
        scripts = [each for each in loaded if ".min.js" in each]
        assert len(scripts) > 3
        for each in scripts:
            assert each.startswith(begin)
            with browser.open(Request(each, method="HEAD"), timeout=PATIENCE_S) as answer:
                assert answer.status == 200


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/lab", "/user/me/proxy/{page}"])
def test_page_below_a_path_of_a_proxy_applies_an_edit(
    page: Any, training: Training, url: str, proxy: int, path: str
) -> None:
    parts = urlsplit(url)
    below = path.format(page=parts.port)
    page.goto(f"http://lab.example:{proxy}{below}{parts.path}?{parts.query}")
    expect(page).to_have_url(f"http://lab.example:{proxy}{below}{parts.path}")
    settle(page)
    apply(page, training, 600 + PATHS.index(path))
    assert page.url.startswith(f"http://lab.example:{proxy}{below}{parts.path}run/")
    shot(page, f"elsewhere_{PATHS.index(path)}")
    cookies = [each["path"] for each in page.context.cookies() if each["name"].startswith("trainctl-")]
    assert cookies == [f"{below}{parts.path}".rstrip("/")], "no other program of that host gets it"
    assert page.wrong == []


@pytest.mark.slow
def test_page_through_a_tunnel_with_another_port_applies_an_edit(
    page: Any, training: Training, url: str, base: Path
) -> None:
    """`ssh -L 9000:127.0.0.1:PORT`, a port that VS Code forwards, and `docker -p` all look so."""
    parts, port = urlsplit(url), free_port()
    with nginx(base / "tunnel", port, f"location / {{ proxy_pass http://127.0.0.1:{parts.port}; {PASSED_ON} }}"):
        page.goto(f"http://localhost:{port}{parts.path}?{parts.query}")
        settle(page)
        apply(page, training, 700)
    assert [text for text in page.wrong if "websocket" not in text.lower()] == []


SERVED = """
import sys
import panel, trainctl
panel.serve(lambda: trainctl.panel_app(sys.argv[1], may_edit=True), port=int(sys.argv[2]), address="127.0.0.1",
            websocket_origin=sys.argv[3], show=False)
"""


@pytest.mark.slow
def test_inline_page_works_through_the_proxy_of_jupyter(page: Any, training: Training, proxy: int, base: Path) -> None:
    port, site = free_port(), f"lab.example:{proxy}"
    command = [sys.executable, "-c", SERVED, str(training.run.path.parent), str(port), site]
    with subprocess.Popen(command, cwd=base, stdout=subprocess.DEVNULL) as server:
        try:
            wait_for(lambda: _answers(port), "the served app")
            page.goto(f"http://{site}/user/me/proxy/{port}/")
            settle(page)
            page.get_by_role("combobox", name="run").select_option(NAME)
            expect(value_of(page, "sched.warmup")).to_be_visible()
            edit(page, "sched.warmup", "750")
            button(page, "Apply").click()
            wait_for(lambda: training.sees(warmup=750), "the value in the training process")
            shot(page, "elsewhere_inline")
        finally:
            server.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
def test_command_shows_the_page_on_a_port_under_a_name_and_below_a_path(training: Training, proxy: int) -> None:
    port = free_port()
    root = training.run.path.parent / "other"
    root.mkdir()
    words = [
        "panel",
        str(root),
        "--port",
        str(port),
        "--host",
        "lab.example",
        "--host",
        "localhost",
        "--prefix",
        "/lab",
    ]
    command = [sys.executable, "-c", "from trainctl.cli import main; main()", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            url, public = running.stdout.readline().strip(), running.stdout.readline().strip()
            parts = urlsplit(url)
            assert parts.netloc == f"127.0.0.1:{port}"
            assert public == f"through the proxy: http://lab.example/lab{parts.path}?{parts.query}"
            unread = Request(url, headers={"Host": "lab.example"})
            with build_opener(HTTPCookieProcessor()).open(unread, timeout=PATIENCE_S) as answer:
                assert answer.status == 200
            with pytest.raises(HTTPError, match="421"):
                build_opener().open(Request(url, headers={"Host": "other.example"}), timeout=PATIENCE_S)
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(timeout=PATIENCE_S)
