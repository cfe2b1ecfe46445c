"""An open page whose server is killed, stopped or cut off: a banner, no control that can be used, and the way back."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from browsing import (
    CHROMIUM,
    FLAGS,
    NAME,
    PATIENCE_S,
    Training,
    api,
    button,
    expect,
    open_run,
    run_url,
    settle,
    wait_for,
)
from made_sweep import make_sweep

from trainctl.config.settings import PanelSettings
from trainctl.panel.server import handle as process
from trainctl.panel.server.handle import PanelHandle

WITHIN_S = 3.0
BUSY_S = 3.0  # by which a machine that tests may be late
RELOAD_MS = 15_000  # as `trainctl.panel.server.app`, which only the server's process loads
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed on this machine")

# notes when the banner comes, by the page's own clock; gone once the page is loaded again
NOTE = """() => {
  window.same = true;
  const note = () => { if (!window.shown && document.querySelector("[role=alert]")) window.shown = Date.now(); };
  new MutationObserver(note).observe(document.body, {childList: true});
}"""
# how far the parts of the page are scrolled, the farthest
SCROLLED = """() => {
  const tops = root => [...root.querySelectorAll("*")].flatMap(
    part => [part.scrollTop, ...(part.shadowRoot ? tops(part.shadowRoot) : [])]);
  return Math.max(...tops(document));
}"""
CAN_BE_USED = "[...document.body.children].some(part => part.id !== 'trainctl-lost' && !part.inert)"


class Line:
    """A TCP proxy: a connection to a server that can be cut, or swallow what it is given."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._is_up = True
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._forgotten: list[threading.Event] = []
        self._threads: list[threading.Thread] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Close all connections, and every new one, until `mend`."""
        self._is_up = False
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def swallow(self) -> None:
        """Hold back whatever is sent, and close nothing, until `mend`."""
        self._goes_on.clear()

    def forget(self) -> None:
        """Hold back for ever what is sent on the connections that are open, and serve new ones: a laptop has slept."""
        self._forgotten.append(self._goes_on)
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._forgotten[-1].clear()

    def mend(self) -> None:
        self._is_up = True
        self._goes_on.set()

    def close(self) -> None:
        self.cut()
        for held in (self._goes_on, *self._forgotten):
            held.set()
        self._listener.close()
        for thread in self._threads:
            thread.join(60)
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    if not self._is_up:
                        raise ConnectionRefusedError
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    near.close()
                    continue
                self._open += [near, far]
                for ends in ((near, far), (far, near)):
                    thread = threading.Thread(target=self._carry, args=(*ends, self._goes_on), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _carry(self, source: socket.socket, sink: socket.socket, goes_on: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                goes_on.wait()
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PanelHandle]:
    """Return the use of a server of two runs; each test leaves it running, as it found it."""
    root = tmp_path_factory.mktemp("two") / "root"
    make_sweep(root, 2)
    handle = process.ensure(root, PanelSettings(keep_min=0))
    assert handle is not None
    yield handle
    handle.close()


@pytest.fixture(scope="module")
def line(served: PanelHandle) -> Iterator[Line]:
    line = Line(urlsplit(served.url).port or 0)
    yield line
    line.close()


@pytest.fixture(scope="module")
def browser(served: PanelHandle, line: Line) -> Iterator[Any]:
    """A browser that comes to that server by way of the line."""
    led = f"--host-resolver-rules=MAP 127.0.0.1:{urlsplit(served.url).port} 127.0.0.1:{line.port}"
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, led])
        yield browser
        browser.close()


@contextlib.contextmanager
def opened_in(browser: Any, handle: PanelHandle, **options: Any) -> Iterator[Any]:
    """Open an empty page; in the end the server runs, whatever became of it."""
    context = browser.new_context(**options)
    context.set_default_timeout(1000 * PATIENCE_S)
    try:
        yield context.new_page()
    finally:
        context.close()
        if (record := process.find(handle.place.root)) is None:
            assert handle.start_again()
        else:
            os.kill(record.pid, signal.SIGCONT)


def lost(page: Any) -> Any:
    """What the page says of its connection."""
    return page.get_by_role("alert").filter(has_text=re.compile(r"\w"))  # one for a filter is there, and empty


@pytest.fixture
def page(browser: Any, served: PanelHandle, line: Line) -> Iterator[Any]:
    """A page of two runs, opened by way of the line."""
    with opened_in(browser, served) as page:
        page.goto(served.url)
        settle(page)
        expect(page.get_by_text("2 runs").first).to_be_visible()
        expect(lost(page)).to_have_count(0)
        wait_for(lambda: page.evaluate("performance.now()") > 6000, "a page that is not just opened")
        page.evaluate(NOTE)
        yield page
        line.mend()


def expect_lost(page: Any, since: float, record_property: Any) -> None:
    """The banner says no more than is known, and nothing can be used."""
    banner = lost(page)
    expect(banner).to_contain_text("has not answered since")
    expect(banner).to_contain_text("Whether the runs go on is not known")
    assert "raining goes on" not in banner.inner_text()
    wait_for(lambda: not page.evaluate(CAN_BE_USED), "a page of which nothing can be used")
    after_s = page.evaluate("window.shown") / 1000 - since
    record_property("banner_after_s", after_s)
    assert after_s < WITHIN_S + BUSY_S
    age = banner.locator("xpath=..").locator(".age")
    first = age.inner_text()
    assert re.fullmatch(r"\d+ s old", first)
    expect(age).not_to_have_text(first)  # it goes on


def expect_back(page: Any, *, loaded: bool) -> None:
    expect(lost(page)).to_have_count(0)
    expect(page.get_by_text("2 runs").first).to_be_visible()
    settle(page)
    assert page.evaluate("window.same === undefined") is loaded
    wait_for(lambda: page.evaluate(CAN_BE_USED), "a page that can be used")


@pytest.mark.slow
def test_page_that_is_open_keeps_its_server_and_shows_the_end(browser: Any, tmp_path: Path) -> None:
    training = Training.start(tmp_path / "root", NAME, tmp_path / "seen.json")
    handle = process.ensure(tmp_path / "root", PanelSettings(keep_min=0))
    assert handle is not None
    page = browser.new_page()
    page.set_default_timeout(1000 * PATIENCE_S)
    page.goto(handle.url)
    open_run(page, handle.url, NAME)
    expect(page.get_by_text("running").first).to_be_visible()
    training.stop()
    handle.close()
    closed = time.monotonic()
    expect(page.get_by_text("done").first).to_be_visible()
    # for longer than a page is waited for that may be loading again
    wait_for(lambda: time.monotonic() - closed > RELOAD_MS / 1000 + 5, "a while", PATIENCE_S)
    assert process.find(tmp_path / "root") is not None
    expect(lost(page)).to_have_count(0)
    page.close()
    wait_for(lambda: process.find(tmp_path / "root") is None, "the end of the server")


def pid_of(served: PanelHandle) -> int:
    record = process.find(served.place.root)
    assert record is not None
    return record.pid


@pytest.mark.slow
def test_page_says_that_its_server_was_killed_and_loads_anew_with_the_next(
    page: Any, served: PanelHandle, record_property: Any
) -> None:
    since = time.time()
    os.kill(pid_of(served), signal.SIGKILL)
    expect_lost(page, since, record_property)
    assert served.start_again()
    expect_back(page, loaded=True)


@pytest.mark.slow
def test_page_of_a_stopped_server_is_switched_off_until_it_goes_on_and_keeps_what_it_shows(
    page: Any, served: PanelHandle, record_property: Any
) -> None:
    since = time.time()
    os.kill(pid_of(served), signal.SIGSTOP)
    expect_lost(page, since, record_property)
    os.kill(pid_of(served), signal.SIGCONT)
    expect_back(page, loaded=False)


@pytest.mark.slow
def test_page_that_is_cut_off_comes_back_with_the_connection(page: Any, line: Line, record_property: Any) -> None:
    since = time.time()
    line.cut()
    expect_lost(page, since, record_property)
    line.mend()
    expect_back(page, loaded=True)


@pytest.mark.slow
def test_page_whose_connection_swallows_everything_is_switched_off(page: Any, line: Line, record_property: Any) -> None:
    since = time.time()
    line.swallow()
    expect_lost(page, since, record_property)
    line.mend()
    expect_back(page, loaded=False)


@pytest.mark.slow
def test_page_whose_connection_is_half_open_makes_a_new_one(page: Any, line: Line, record_property: Any) -> None:
    since = time.time()
    line.forget()
    expect_lost(page, since, record_property)
    expect_back(page, loaded=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PanelHandle]:
    """Return the use of the server of a run that trains."""
    base = tmp_path_factory.mktemp("trained")
    training = Training.start(base / "root", NAME, base / "seen.json")
    handle = process.ensure(base / "root", PanelSettings(keep_min=0))
    assert handle is not None
    yield handle
    training.stop()
    handle.close()


@pytest.fixture
def opened_run(browser: Any, trained: PanelHandle) -> Iterator[Any]:
    """The page of the run that trains, in a low window."""
    with opened_in(browser, trained, viewport={"width": 1000, "height": 500}, color_scheme="dark") as page:
        page.goto(trained.url)
        page.goto(run_url(trained.url, NAME))
        expect(button(page, "Pause")).to_be_visible()
        settle(page)
        wait_for(lambda: page.evaluate("performance.now()") > 6000, "a page that is not just opened")
        page.evaluate(NOTE)
        yield page


def address(page: Any) -> str:
    """What the address bar says; `page.url` may be late."""
    return str(page.evaluate("location.href"))


@pytest.mark.slow
def test_page_comes_back_as_it_was_left_and_says_what_was_not_answered(opened_run: Any, trained: PanelHandle) -> None:
    page, handle = opened_run, trained
    is_dark = "document.documentElement.hasAttribute('data-dark')"
    assert page.evaluate(is_dark), "the page does not follow the system"
    assert "theme" not in address(page)
    page.get_by_role("button", name="Toggle theme").click()
    wait_for(lambda: address(page).endswith("?theme=light"), "the theme in the address")
    page.get_by_label("note").fill("calmer")
    page.get_by_label("at step").fill("123456789")
    page.mouse.move(500, 300)
    page.mouse.wheel(0, 170)
    wait_for(lambda: page.evaluate(SCROLLED) == 170, "a page that is scrolled")
    pid = pid_of(handle)
    os.kill(pid, signal.SIGSTOP)
    clicked = time.time()
    page.evaluate("""() => {
      const note = () => { window.told = window.told ?? (document.querySelector("#trainctl-late") && Date.now()); };
      new MutationObserver(note).observe(document.body, {childList: true});
    }""")
    button(page, "Pause").evaluate("part => part.focus({preventScroll: true})")  # a click would scroll to it
    page.keyboard.press("Enter")
    expect(lost(page).locator("xpath=..")).to_contain_text("was not answered: look then")
    told = page.evaluate("Math.min(window.told ?? Infinity, window.shown)") / 1000
    assert told - clicked < 2 + BUSY_S
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: process.find(handle.place.root) is None, "the end of the server")
    assert handle.start_again()
    expect(lost(page)).to_have_count(0)
    settle(page)
    assert page.evaluate("window.same === undefined")
    expect(page.get_by_text("The connection was lost before what you asked for")).to_be_visible()
    page.get_by_role("button", name="OK", exact=True).click()
    expect(page.get_by_text("The connection was lost")).to_have_count(0)
    expect(page.get_by_label("note")).to_have_value("calmer")
    expect(page.get_by_label("at step")).to_have_value("123456789")
    assert address(page).endswith("?theme=light")
    assert not page.evaluate(is_dark)
    wait_for(lambda: page.evaluate(SCROLLED) == 170, "the place where the page was left")


@pytest.mark.slow
def test_theme_and_history_are_the_pages_own(opened_run: Any, trained: PanelHandle) -> None:
    page = opened_run
    page.get_by_role("button", name="Toggle theme").click()
    for name in ("config", "log", "run"):
        page.get_by_role("tab", name=name).click()
        wait_for(lambda name=name: ("tab=" + name in address(page)) == (name != "run"), "the tab in the address")
    assert "theme=light" in address(page)
    page.goto(trained.url.partition("?")[0])  # another page, whose address says nothing of a theme
    wait_for(lambda: "theme=light" in address(page), "the theme that was chosen")
    page.go_back()
    wait_for(lambda: "/run/" in address(page), "the page before, not another tab of it")
    page.go_back()
    wait_for(lambda: "/run/" not in address(page), "the page before that")
