"""People whom a reverse proxy has logged in: who is believed, who may enter, and who they are then."""

from __future__ import annotations

import asyncio
import doctest
import http.client
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from bokeh_client import Session
from test_gate import UPGRADE, Client

from trainctl.config.settings import PanelSettings
from trainctl.errors import SettingError
from trainctl.panel.auth import proxy as proxy_module
from trainctl.panel.auth.access import Access, Admission, HttpRequest, reader_token
from trainctl.panel.auth.proxy import LONGEST_NAME, Proxy
from trainctl.panel.server import handle as process
from trainctl.panel.server.launch import Listening
from trainctl.rundir.events import read_events
from trainctl.rundir.paths import RunDir

PROOF = "a-secret-that-only-the-proxy-knows-0123456789"
ENVIRONMENT = {"TRAINCTL_PROXY_SECRET": PROOF}
WHO = "me@lab.example"
SETTINGS = PanelSettings(
    keep_min=0,
    user_header="X-Forwarded-User",
    users=[WHO],
    readers=["*@lab.example"],
    public_url="https://lab.example",
)
PROVEN = {"host": "lab.example", "x-trainctl-proxy-secret": PROOF}


def access() -> Access:
    return Access.of_url("http://127.0.0.1:5/p/?token=secret", proxy=Proxy.of(SETTINGS, ENVIRONMENT))


def judged(
    headers: Mapping[str, str], *, peer: str = "127.0.0.1", path: str = "/p/", query: str = "", method: str = "GET"
) -> Admission:
    request = HttpRequest(method, path, query, {"host": "127.0.0.1:5", **headers}, peer=peer)
    return access().judge(request)


def named(who: str) -> dict[str, str]:
    return {**PROVEN, "x-forwarded-user": who}


def test_examples_in_the_docstrings_run() -> None:
    assert doctest.testmod(proxy_module).failed == 0


def test_proxy_says_who_it_is_and_settings_say_what_they_may() -> None:
    for sent, role in ((WHO, "editor"), ("Me@Lab.Example", "editor"), ("you@lab.example", "reader")):
        verdict = judged(named(sent))
        assert (verdict.kind, verdict.role, verdict.who) == ("admit", role, sent)
    for stranger in ("you@elsewhere.example", f"{WHO}.evil.example", "lab.example"):
        assert (judged(named(stranger)).status, judged(named(stranger)).reason) == (
            403,
            "this account may not enter; ask who started the page",
        )


def test_name_without_proof_is_refused_whatever_else_the_request_has() -> None:
    cookie = {"trainctl-p": access().cookie_of("editor")}
    for proof in ({}, {"x-trainctl-proxy-secret": ""}, {"x-trainctl-proxy-secret": PROOF[:-1]}):
        for more in ({}, {"authorization": "Bearer secret"}):
            headers = {"host": "127.0.0.1:5", "x-forwarded-user": WHO, **proof, **more}
            verdict = access().judge(HttpRequest("GET", "/p/", "token=secret", headers, cookie, peer="127.0.0.1"))
            assert verdict.status == 403
            assert verdict.reason == (
                "X-Forwarded-User is believed only together with the proxy's secret in X-Trainctl-Proxy-Secret"
            )
    doubled = {**named(WHO), "x-trainctl-proxy-secret": f"{PROOF},{PROOF}"}
    assert judged(doubled).status == 403


@pytest.mark.parametrize("peer", ["10.0.0.9", "::2", "", "0.0.0.0", "localhost", "127.0.0.2"])
def test_proof_from_another_address_is_refused(peer: str) -> None:
    verdict = judged({**named(WHO), "x-forwarded-for": "127.0.0.1"}, peer=peer)
    assert (verdict.status, verdict.reason) == (
        403,
        "X-Forwarded-User is believed only from the addresses in trainctl.panel.trusted_proxies",
    )
    assert judged(named(WHO), peer="::1").kind == "admit"


def test_network_of_proxies_may_be_trusted() -> None:
    proxy = Proxy.of(replace(SETTINGS, trusted_proxies=["10.1.0.0/16"]), ENVIRONMENT)
    opened = replace(access(), proxy=proxy)
    for peer, status in (("10.1.2.3", 200), ("10.2.0.1", 403), ("127.0.0.1", 403)):
        assert opened.judge(HttpRequest("GET", "/p/", headers=named(WHO), peer=peer)).status == status


@pytest.mark.parametrize(
    "sent",
    [
        *("", " ", f"{WHO},{WHO}", f"evil,{WHO}", f",{WHO}", f"{WHO}\0", f"{WHO}\n", "me\x7f", "m\xe9"),
        "a\xe2\x80\xae",  # a right-to-left override in UTF-8
        "x" * (LONGEST_NAME + 1) + "@lab.example",
    ],
)
def test_name_that_is_empty_doubled_long_or_not_plain_text_is_refused(sent: str) -> None:
    verdict = judged(named(sent))
    assert verdict.status == 403
    assert verdict.reason.startswith("X-Forwarded-User must be given once, with one name of at most 200 characters")


def test_proxy_that_names_nobody_is_refused() -> None:
    assert judged(PROVEN).status == 403


def test_letter_that_only_looks_like_another_does_not_make_an_editor() -> None:
    proxy = Proxy.of(replace(SETTINGS, users=["mike"], readers=["jürgen"]), ENVIRONMENT)
    assert proxy is not None
    assert [proxy.role_of(who) for who in ("MIKE", "mi\u212ae", "jürgen")] == ["editor", None, "reader"]


def test_what_the_proxy_says_counts_and_no_link_besides() -> None:
    """The link of those who may edit makes no editor of a reader whom the proxy names."""
    verdict = judged({**named("you@lab.example"), "authorization": "Bearer secret"}, query="token=secret")
    assert (verdict.kind, verdict.role) == ("admit", "reader")


def test_proxied_request_meets_the_same_rules_as_any_other() -> None:
    assert judged({**named(WHO), "host": "rebound.example"}).status == 421
    for foreign in ("https://evil.example", "http://lab.example", "https://lab.example.evil.example", "null"):
        assert judged({**named(WHO), "origin": foreign}).status == 403
    assert judged({**named(WHO), "origin": "https://lab.example"}).kind == "admit"
    assert judged({**named(WHO), "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}).status == 403
    assert judged({**named(WHO), "upgrade": "websocket"}, path="/p/ws").status == 403
    assert judged({**named(WHO), "upgrade": "websocket", "origin": "https://lab.example"}, path="/p/ws").kind == "admit"
    assert judged(named(WHO), method="POST").status == 405
    assert judged(named(WHO), path="/q/").status == 404
    assert judged(named(WHO), path="/p/components/os/x").status == 404


def test_proxys_own_address_leads_to_the_page() -> None:
    verdict = judged(named(WHO), path="/")
    assert (verdict.kind, verdict.target) == ("lead", "/p/")
    assert judged(named("you@elsewhere.example"), path="/").status == 403


def test_link_and_cookie_open_the_page_where_no_proxy_stands() -> None:
    assert judged({}, query="token=secret").kind == "welcome"
    assert judged({}, query=f"token={reader_token('secret')}").role == "reader"
    assert judged({}).status == 403


def test_header_means_nothing_where_none_is_named() -> None:
    plain = Access.of_url("http://127.0.0.1:5/p/?token=secret")
    headers = {**named(WHO), "host": "127.0.0.1:5"}
    assert plain.judge(HttpRequest("GET", "/p/", headers=headers, peer="127.0.0.1")).status == 403
    by_link = plain.judge(HttpRequest("GET", "/p/", headers={**headers, "authorization": "Bearer secret"}))
    assert (by_link.role, by_link.who) == ("editor", None)


@pytest.mark.parametrize(
    ("changed", "environment", "sentence"),
    [
        ({"user_header": None}, ENVIRONMENT, r"panel\.users needs trainctl\.panel\.user_header, the header"),
        (
            {"users": [], "readers": []},
            ENVIRONMENT,
            "lets in everybody the proxy lets in; name those who may edit",
        ),
        ({}, {}, "needs a secret of at least 32 characters in the variable TRAINCTL_PROXY_SECRET"),
        ({}, {"TRAINCTL_PROXY_SECRET": "short"}, "needs a secret of at least 32 characters"),
        ({"user_header": "Authorization"}, ENVIRONMENT, r"user_header='Authorization' is not allowed"),
        ({"user_header": "X-Trainctl-Role"}, ENVIRONMENT, r"user_header='X-Trainctl-Role' is not allowed"),
        ({"user_header": "X User"}, ENVIRONMENT, r"user_header='X User' is not allowed"),
        ({"user_header": ""}, ENVIRONMENT, r"user_header='' is not allowed"),
        ({"trusted_proxies": ["proxy.lab"]}, ENVIRONMENT, "'proxy.lab' is not an address or a network"),
        ({"trusted_proxies": []}, ENVIRONMENT, r"trusted_proxies names nobody"),
        ({"public_url": None}, ENVIRONMENT, r"public_url=None must be the address under which people reach the proxy"),
        ({"public_url": "lab.example"}, ENVIRONMENT, r"public_url='lab.example' must be"),
        ({"public_url": "https://lab.example/runs"}, ENVIRONMENT, "without a path"),
        ({"public_url": "https://lab.example:port"}, ENVIRONMENT, "must be the address"),
    ],
)
def test_half_a_proxy_is_refused(
    changed: dict[str, object], environment: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingError, match=sentence):
        Proxy.of(replace(SETTINGS, **changed), environment)  # type: ignore[arg-type]  # any setting


def test_secret_alone_names_no_proxy() -> None:
    assert Proxy.of(PanelSettings(), ENVIRONMENT) is None


def test_proxy_is_handed_over_without_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy.of(SETTINGS, ENVIRONMENT)
    assert proxy is not None
    assert Proxy.from_dict(proxy.to_dict()) == proxy
    assert PROOF not in f"{proxy} {proxy.to_dict()}"
    monkeypatch.setenv("TRAINCTL_PROXY_SECRET", PROOF)
    one, other = Listening.of(SETTINGS), Listening.of(replace(SETTINGS, readers=[]))
    assert one.sealed("link") == Listening.of(SETTINGS).sealed("link") != other.sealed("link")
    monkeypatch.setenv("TRAINCTL_PROXY_SECRET", PROOF + "x")
    assert Listening.of(SETTINGS).sealed("link") != one.sealed("link")


def test_proxy_is_enough_for_an_address_that_others_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINCTL_PROXY_SECRET", PROOF)
    assert Listening.of(replace(SETTINGS, address="0.0.0.0")).address == "0.0.0.0"
    with pytest.raises(SettingError, match=r"or trainctl\.panel\.user_header names a proxy's header"):
        Listening.of(PanelSettings(address="0.0.0.0"))


Start = Callable[..., "tuple[str, subprocess.Popen[str]]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a proxy that sets headers; return the host that browsers ask, and what takes the page's host."""
    started: list[subprocess.Popen[str]] = []

    def start(*headers: str) -> tuple[str, subprocess.Popen[str]]:
        command = [sys.executable, str(Path(__file__).with_name("reverse_proxy.py")), *headers]
        proxy = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(proxy)
        assert proxy.stdout is not None
        return f"127.0.0.1:{proxy.stdout.readline().strip()}", proxy

    yield start
    for proxy in started:
        proxy.kill()
        proxy.communicate()


def lead(proxy: subprocess.Popen[str], upstream: str) -> None:
    assert proxy.stdin is not None
    assert proxy.stdout is not None
    proxy.stdin.write(f"{upstream}\n")
    proxy.stdin.flush()
    assert proxy.stdout.readline() == "ready\n"


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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_page_behind_a_proxy_knows_who_edits_and_keeps_forgers_out(
    run: RunDir, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINCTL_PROXY_SECRET", PROOF)
    proof = f"X-Trainctl-Proxy-Secret: {PROOF}"
    public, proxy = start(f"X-Forwarded-User: {WHO}", proof)
    settings = replace(SETTINGS, public_url=f"http://{public}")
    handle = process.ensure(run.path.parent, settings)
    assert handle is not None
    try:
        parts = urlsplit(handle.url)
        prefix, token = parts.path.strip("/"), dict(parse_qsl(parts.query))["token"]
        direct, through = (Client(run.path.parent, host, prefix, token) for host in (parts.netloc, public))
        lead(proxy, parts.netloc)
        connection = http.client.HTTPConnection(public, timeout=240)
        connection.request("GET", "/")
        assert connection.getresponse().headers["Location"] == f"./{prefix}/"
        connection.close()
        assert through.status("") == 200
        forged = {"X-Forwarded-User": "somebody@lab.example", "X-Trainctl-Who": "somebody", "X-Trainctl-Role": "reader"}

        async def edit(text: str) -> str:
            session = await Session.open(f"http://{public}/{prefix}/", "run/run_0", forged)
            try:
                return await session.edit("a", text)
            finally:
                session.close()

        assert asyncio.run(edit("7")).startswith("applied at step")
        assert [(event.who, event.edits) for event in read_events(run) if event.state == "pending"] == [
            (WHO, {"free.a": "7"})
        ]
        _forgers_are_refused(direct, through)
        _proxy_that_adds_a_second_header(start, proof, direct, through)
        _readers_and_others(start, proof, direct, through)
        record = process.find(handle.place.root)
        assert record is not None
        for name in ("cmdline", "environ"):
            assert PROOF.encode() not in Path(f"/proc/{record.pid}/{name}").read_bytes()
        for file in (handle.place.log, handle.place.record, run.run, run.changelog, run.config):
            assert not file.exists() or PROOF not in file.read_text()
    finally:
        handle.close()


def _forgers_are_refused(direct: Client, through: Client) -> None:
    """Whoever reaches the port without the proxy, or comes through it from another site."""
    name = {"X-Forwarded-User": WHO}
    for route in ("", "run/run_0", "static/js/bokeh.min.js", "autoload.js", "metadata", "components/panel.x/_css/y"):
        status, _, said = direct.ask(route, name)
        assert (status, "believed only together with the proxy's secret" in said) == (403, True), route
        assert direct.status(route, {**name, "X-Trainctl-Proxy-Secret": PROOF[::-1]}) == 403
        assert direct.status(route, {**name, **direct.bearer}) == 403
        assert direct.status(route) == 403
    for header in ("x-forwarded-user", "X-FORWARDED-USER"):
        assert direct.status("", {header: WHO, **direct.bearer}) == 403
    assert direct.status("", direct.bearer) == 200
    assert direct.status("ws", {**UPGRADE, **direct.origin, **name}) == 403
    assert through.status("ws", UPGRADE) == 403
    assert through.status("ws", {**UPGRADE, "Origin": "http://evil.example"}) == 403
    assert through.status("", {"Origin": "http://evil.example"}) == 403
    assert through.status("", {"Host": "rebound.example"}) == 421
    assert through.status("ws", {**UPGRADE, **through.origin}) == 101


def _proxy_that_adds_a_second_header(start: Start, proof: str, direct: Client, through: Client) -> None:
    """A proxy that leaves what a browser sends is not believed when there are two names."""
    host, proxy = start(f"+X-Forwarded-User: {WHO}", proof, f"Host: {through.host}")
    lead(proxy, direct.host)
    adding = replace(through, host=host)
    assert adding.status("") == 200
    for name in (WHO, "evil", "", " "):
        status, _, said = adding.ask("", {"X-Forwarded-User": name} if name else {"X-Forwarded-User": "\t"})
        assert (status, "must be given once" in said) == (403, True), name
    assert adding.status("ws", {**UPGRADE, **through.origin, "X-Forwarded-User": "evil"}) == 403
    assert adding.status("", {"X-Trainctl-Proxy-Secret": PROOF}) == 200  # replaced, not doubled


def _readers_and_others(start: Start, proof: str, direct: Client, through: Client) -> None:
    """Who may look sees the page; who is not named, or whose name is not a name, does not."""
    for name, status in (
        ("you@lab.example", 200),
        ("you@elsewhere.example", 403),
        ("", 403),
        ("x" * 300 + "@lab.example", 403),
        ("a,b@lab.example", 403),
    ):
        host, proxy = start(f"X-Forwarded-User: {name}", proof, f"Host: {through.host}")
        lead(proxy, direct.host)
        assert replace(through, host=host).status("") == status, name
