"""Per module a browser, a training, a server for it, and one tab that is kept open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the browser to `make check`, but for one tour: each file that has one waits ten seconds for it."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()) and item.path.name != "test_browser.py":
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser of this module's own: as long as Playwright is there its event loop runs in this thread."""
    from browsing import CHROMIUM, FLAGS, api

    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def training(base: Path) -> Iterator[Any]:
    from browsing import NAME, Training

    running = Training.start(base / "root", NAME, base / "seen.json")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def url(training: Any) -> Iterator[str]:
    from trainctl.config.settings import PanelSettings
    from trainctl.panel.server import handle as process

    handle = process.ensure(training.run.path.parent, PanelSettings(keep_min=0))
    assert handle is not None
    yield handle.url
    handle.close()


@pytest.fixture(scope="module")
def context(browser: Any, url: str) -> Iterator[Any]:
    """A browser that has entered by the link; whatever it asks for is kept."""
    from browsing import PATIENCE_S

    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.set_default_timeout(1000 * PATIENCE_S)
    context.asked = []
    context.on("request", lambda request: context.asked.append(request.url))
    page = context.new_page()
    page.goto(url)
    page.close()
    yield context
    context.close()


@pytest.fixture(scope="module")
def opened(context: Any) -> Any:
    """One tab for all tests, since a page takes seconds to open; what goes wrong in it is kept."""
    page = context.new_page()
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(error.stack or str(error)))
    page.on("console", lambda message: page.wrong.append(message.text) if message.type == "error" else None)
    return page


@pytest.fixture
def page(opened: Any) -> Iterator[Any]:
    yield opened
    wrong, opened.wrong = opened.wrong, []
    assert wrong == []


@pytest.fixture
def form(page: Any, url: str) -> Any:
    """The page of the run that trains: nothing is changed or answered there, whatever other tests have left."""
    from browsing import NAME, button, expect, open_run, run_url

    is_there = page.url == run_url(url, NAME)
    if not is_there or page.get_by_role("status").count() or button(page, "Discard").is_enabled():
        open_run(page, url, NAME)
    expect(button(page, "Discard")).to_be_disabled()
    return page
