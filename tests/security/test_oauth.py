"""A login elsewhere, by Panel's generic provider and one made for the test: who may enter, and who they are then."""

from __future__ import annotations

import asyncio
import http.client
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from bokeh_client import Session
from oauth_provider import KEY, SECRET, Provider
from test_gate import UPGRADE

from trainctl.config.settings import OAuthSettings, PanelSettings, settings_of
from trainctl.errors import SettingError
from trainctl.panel.auth.access import Access, HttpRequest
from trainctl.panel.oauth import PROVIDERS, OAuth
from trainctl.panel.server import handle as process
from trainctl.panel.server.state import PanelDir
from trainctl.rundir.events import read_events
from trainctl.rundir.paths import RunDir

ENVIRONMENT = {"PANEL_OAUTH_KEY": KEY, "PANEL_OAUTH_SECRET": SECRET}
WHO = "me@lab.example"


@dataclass
class Browser:
    """Keeps cookies by path and follows what leads on, to other ports too, as a browser does."""

    cookies: dict[str, str] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)

    def ask(self, url: str, **headers: str) -> tuple[int, str, str]:
        """Ask once and return status, where it leads, and what it says."""
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=240)
        kept = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection.request("GET", f"{parts.path}?{parts.query}", headers={"Cookie": kept, **headers})
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        for line in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        connection.close()
        leads = answer.headers.get("Location") or "".join(
            re.findall(r'http-equiv="refresh" content="0;url=([^"]+)', text)
        )
        return answer.status, leads and (leads if "://" in leads else f"http://{parts.netloc}{leads}"), text

    def open(self, url: str) -> tuple[int, str]:
        """Ask until nothing leads on."""
        while True:
            self.seen.append(url)
            status, leads, text = self.ask(url)
            if not leads:
                return status, text
            url = leads


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    provider = Provider()
    provider.start()
    yield provider
    provider.stop()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDir]:
    """A run that trains."""
    run = RunDir.at(tmp_path / "root" / "run_0")
    command = [sys.executable, str(Path(__file__).with_name("loaded_training.py")), str(run.path)]
    with subprocess.Popen(command) as training:
        try:
            deadline = time.monotonic() + 120
            while not run.changelog.exists():
                assert time.monotonic() < deadline, "the training has not begun"
                time.sleep(0.05)
            yield run
        finally:
            training.kill()


@pytest.fixture
def served(
    run: RunDir, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[RunDir, process.PanelHandle]]:
    """The page of a run that trains, where `me` may edit and others of the lab may look."""
    for name, value in provider.environment.items():
        monkeypatch.setenv(name, value)
    oauth = OAuthSettings(users=[WHO], readers=["*@lab.example"])
    handle = process.ensure(run.path.parent, PanelSettings(keep_min=0, oauth=oauth))
    assert handle is not None
    yield run, handle
    handle.close()


@pytest.mark.timeout(900)
def test_login_opens_the_page_and_names_who_edits(
    served: tuple[RunDir, process.PanelHandle], provider: Provider
) -> None:
    run, handle = served
    base = handle.url.partition("?")[0]
    browser = Browser()
    status, text = browser.open(f"{base}run/run_0?tab=log")
    assert status == 200
    assert "trainctl · run_0" in text
    assert browser.seen[-1] == f"{base}run/run_0?tab=log"
    assert [urlsplit(url).path for url in browser.seen[1:4]] == ["/login", "/authorize", "/login"]
    prefix = urlsplit(base).path.strip("/")
    assert set(browser.cookies) >= {f"trainctl-{prefix}"}
    assert not {"user", "access_token", "id_token", "refresh_token"} & set(browser.cookies)
    cookie = {"Cookie": f"trainctl-{prefix}={browser.cookies[f'trainctl-{prefix}']}"}

    async def edit() -> str:
        session = await Session.open(base, "run/run_0", {**cookie, "X-Trainctl-Who": "somebody else"})
        try:
            return await session.edit("a", "7")
        finally:
            session.close()

    assert asyncio.run(edit()).startswith("applied at step")
    assert [(event.who, event.edits) for event in read_events(run) if event.state == "pending"] == [
        (WHO, {"free.a": "7"})
    ]
    for file in (PanelDir(handle.place.root).log, run.run, run.changelog, run.config):
        assert not file.exists() or SECRET not in file.read_text()
    record = process.find(handle.place.root)
    assert record is not None
    for name in ("cmdline", "environ"):
        assert SECRET.encode() not in Path(f"/proc/{record.pid}/{name}").read_bytes()
    _strangers_are_kept_out(base)
    _accounts_that_may_not(base, provider)


def _strangers_are_kept_out(base: str) -> None:
    """Without a login: pages lead to it, all else is refused."""
    for route in (
        "static/js/bokeh.min.js",
        "components/panel.x/_css/y",
        "autoload.js",
        "metadata",
        "run/run_0/ws",
        "ws",
    ):
        assert Browser().ask(base + route)[0] == 403, route
    origin = {"Origin": base.rpartition("/")[0].rpartition("/")[0]}
    assert Browser().ask(f"{base}ws", **UPGRADE, **origin)[0] == 403
    assert Browser().ask(base, **{"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "same-origin"})[0] == 403
    status, leads, _ = Browser().ask(base)
    assert (status, urlsplit(leads).path) == (302, "/login")
    assert parse_qs(urlsplit(leads).query) == {"next": [urlsplit(base).path]}
    login = f"{base.rpartition('/')[0].rpartition('/')[0]}/login"
    assert Browser().ask(login, Host="rebound.example")[0] == 421
    assert Browser().ask(f"{login}?{urlencode({'code': 'a-code', 'state': 'made-up'})}")[0] == 401
    for target in ("http://evil.example/", "//evil.example", "/\\evil.example"):
        browser = Browser()
        browser.open(f"{login}?{urlencode({'next': target})}")
        assert [url for url in browser.seen if "evil" in urlsplit(url).netloc] == []


def _accounts_that_may_not(base: str, provider: Provider) -> None:
    """An account that is not named, or whose address the provider has not verified, does not enter."""
    try:
        for claims, reason in (
            ({"email": "you@elsewhere.example"}, "this account may not enter"),
            ({"email": f"{WHO}.evil.example"}, "this account may not enter"),
            ({"email": WHO, "email_verified": False}, "the provider has not verified this address"),
        ):
            provider.claims = claims
            browser = Browser()
            status, text = browser.open(base)
            assert (status, reason in text) == (403, True)
            assert browser.ask(base)[0] == 302  # still a stranger
        provider.claims = {"email": "you@lab.example"}
        browser = Browser()
        assert browser.open(base)[0] == 200
    finally:
        provider.claims = {"email": WHO}


def access() -> Access:
    oauth = OAuth("generic", (WHO,), ("*@lab.example",), {})
    return Access.of_url("http://127.0.0.1:5/p/?token=secret", oauth=oauth)


def judged(cookie: str, path: str = "/p/") -> tuple[str, str, str | None]:
    verdict = access().judge(HttpRequest("GET", path, headers={"host": "127.0.0.1:5"}, cookies={"trainctl-p": cookie}))
    return verdict.kind, verdict.role, verdict.who


def test_cookie_of_a_person_says_who_and_cannot_be_changed() -> None:
    good = access().cookie_for(WHO, 4e9)
    assert judged(good) == ("admit", "editor", WHO)
    assert judged(access().cookie_for("you@lab.example", 4e9)) == ("admit", "reader", "you@lab.example")
    other = access().cookie_for("you@lab.example", 4e9)
    forged = good.partition(".")[0] + "." + other.partition(".")[2]
    for cookie in (
        forged,
        good[:-1],
        good.replace("4000000000", "5000000000"),
        "a.b.c",
        "..",
        "\udc80.1.x",
        good + "x",
    ):
        assert judged(cookie)[0] == "lead", cookie
    assert judged(access().cookie_for(WHO, 1.0))[0] == "lead"  # over
    assert judged(access().cookie_for("you@elsewhere.example", 4e9))[0] == "lead"


def test_providers_are_those_of_panel_that_lead_elsewhere() -> None:
    from panel.auth import AUTH_PROVIDERS

    assert set(PROVIDERS) == set(AUTH_PROVIDERS) - {"password", "pam", "basic"}


@pytest.mark.parametrize(
    ("settings", "environment", "sentence"),
    [
        ({"provider": "gitbub"}, ENVIRONMENT, r"oauth\.provider='gitbub' is not known; allowed are auth0, "),
        ({"users": ["me"]}, ENVIRONMENT, r"oauth\.provider=None is not known"),
        ({"provider": "github"}, ENVIRONMENT, "lets in whoever has an account there; name those who may edit"),
        (
            {"provider": "github", "users": ["me"]},
            {},
            "needs PANEL_OAUTH_KEY and PANEL_OAUTH_SECRET in the environment",
        ),
    ],
)
def test_half_an_oauth_login_is_refused(
    settings: dict[str, object], environment: dict[str, str], sentence: str
) -> None:
    with pytest.raises(SettingError, match=sentence):
        OAuth.of(OAuthSettings(**settings), environment)  # type: ignore[arg-type]  # any setting


def test_environment_alone_asks_for_no_login() -> None:
    assert OAuth.of(OAuthSettings(), {**ENVIRONMENT, "PANEL_OAUTH_PROVIDER": "github"}) is None


def test_secret_in_a_config_is_no_setting() -> None:
    from omegaconf import OmegaConf

    with pytest.raises(SettingError, match=r"oauth\.secret is not a setting; allowed are provider, readers, users"):
        settings_of(OmegaConf.create({"trainctl": {"panel": {"oauth": {"secret": "x"}}}}))


def test_login_is_enough_for_an_address_that_others_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from trainctl.panel.server.launch import Listening

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    oauth = OAuthSettings(provider="github", users=["me"])
    assert Listening.of(PanelSettings(address="0.0.0.0", oauth=oauth)).address == "0.0.0.0"
    with pytest.raises(SettingError, match=r"or trainctl\.panel\.oauth names a provider"):
        Listening.of(PanelSettings(address="0.0.0.0"))
