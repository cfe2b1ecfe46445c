"""The page as a person sees it: a real server, a real training, a real Chromium."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from browsing import CHROMIUM, FLAGS, Training, api, button, expect, field, open_run, run_url, settle, wait_for

from trainctl.config import changelog
from trainctl.config.settings import PanelSettings
from trainctl.panel import process
from trainctl.run.events import read_events, wait_for_answer
from trainctl.run.inbox import file_request
from trainctl.run.rundir import RunDir
from trainctl.run.status import state_of

NAME = "Lr_0.0005"
ODD = "Norm_<img src=x onerror=window.pwned=1> #%"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed on this machine")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def training(base: Path) -> Iterator[Training]:
    running = Training.start(base / "root", NAME, base / "seen.json")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def ended(training: Training, base: Path) -> RunDir:
    """A run that has ended; its name is hostile."""
    once = Training.start(base / "root", ODD, base / "once.json")
    once.stop()
    return once.run


@pytest.fixture(scope="module")
def url(training: Training, ended: RunDir) -> Iterator[str]:
    handle = process.ensure(training.run.path.parent, PanelSettings())
    assert handle is not None
    yield handle.url
    handle.close()


@pytest.fixture(scope="module")
def context(url: str) -> Iterator[Any]:
    """A browser that has entered by the link; whatever it asks for and whatever goes wrong in it is kept."""
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(viewport={"width": 1400, "height": 900})
        context.set_default_timeout(20_000)
        context.asked = []
        context.on("request", lambda request: context.asked.append(request.url))
        page = context.new_page()
        page.goto(url)
        page.close()
        yield context
        browser.close()


@pytest.fixture(scope="module")
def opened(context: Any) -> Any:
    """One tab for all tests, since a page takes seconds to open; what goes wrong in it is kept."""
    page = context.new_page()
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda message: page.wrong.append(message.text) if message.type == "error" else None)
    return page


@pytest.fixture
def page(opened: Any) -> Iterator[Any]:
    yield opened
    wrong, opened.wrong = opened.wrong, []
    assert wrong == []


@pytest.fixture
def form(page: Any, url: str) -> Any:
    """The page of the run that trains, with nothing changed."""
    if page.url != run_url(url, NAME):
        open_run(page, url, NAME)
    if button(page, "Discard").is_enabled():
        button(page, "Discard").click()
        expect(button(page, "Discard")).to_be_disabled()
    return page


def edits_of(run: RunDir) -> list[Any]:
    return changelog.loads(run.changelog.read_text()).edits


def test_link_opens_the_table_and_a_run(page: Any, url: str, training: Training) -> None:
    page.goto(url)
    expect(page).to_have_title(f"trainctl · {training.run.path.parent.name}")
    assert "token" not in page.url
    row = page.get_by_role("row").filter(has_text=NAME)
    expect(row).to_contain_text("running")
    expect(page.get_by_text("done").first).to_be_visible()
    row.get_by_role("link", name=NAME).click()
    expect(page).to_have_title("trainctl · Lr_0.0005")
    expect(field(page, "lr")).to_be_visible()
    page.get_by_role("link", name="All runs").click()
    expect(page.get_by_role("link", name=NAME)).to_be_visible()


def test_browser_without_token_sees_nothing(context: Any, url: str) -> None:
    stranger = context.browser.new_context()
    try:
        page = stranger.new_page()
        answer = page.goto(url.partition("?")[0])
        assert answer.status == 403
        expect(page.get_by_text("not open without the link")).to_be_visible()
        opened = page.evaluate(
            """url => new Promise(done => {
                const socket = new WebSocket(url, ["bokeh", "x"])
                socket.onopen = () => done("open")
                socket.onerror = () => done("refused")
            })""",
            f"{url.partition('?')[0].replace('http', 'ws')}ws",
        )
        assert opened == "refused"
    finally:
        stranger.close()


def test_two_edits_arrive_together_in_training_and_changelog(form: Any, training: Training) -> None:
    page = form
    before = len(edits_of(training.run))
    expect(button(page, "Apply")).to_be_disabled()
    field(page, "warmup").fill("812")
    expect(page.get_by_text("now 500", exact=True)).to_be_visible()
    field(page, "betas").fill("[0.9, 0.95]")
    expect(page.get_by_text("2 pending edits")).to_be_visible()
    page.get_by_label("note").fill("calmer: # {x}")
    expect(button(page, "Apply")).to_be_enabled()
    answer = page.get_by_role("status")
    expect(answer).to_have_count(0)
    button(page, "Apply").click()
    expect(answer).to_have_text(re.compile(r"^applied at step \d+$"))
    step = int(answer.inner_text().split()[-1])
    wait_for(lambda: training.sees(warmup=812, betas=[0.9, 0.95]), "the values in the training process")
    edits = edits_of(training.run)[before:]
    assert [(edit.step, edit.values) for edit in edits] == [(step, {"sched.warmup": 812, "optim.betas": [0.9, 0.95]})]
    expect(page.get_by_text("No pending edits")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="sched.warmup").filter(has_text="812")).to_contain_text(
        "calmer: # {x}"
    )
    expect(button(page, "Apply")).to_be_disabled()


def test_switch_and_select_are_edits_too(form: Any, training: Training) -> None:
    page = form
    page.get_by_label("nesterov").click()
    expect(page.get_by_text("1 pending edit", exact=True)).to_be_visible()
    field(page, "kind").click()
    page.get_by_role("menuitem", name="linear").click()
    expect(page.get_by_text("2 pending edits")).to_be_visible()
    expect(page.get_by_role("status")).to_have_count(0)
    button(page, "Apply").click()
    expect(page.get_by_role("status")).to_have_text(re.compile(r"^applied at step \d+$"))
    wait_for(lambda: training.sees(kind="linear"), "the choice in the training process")
    assert edits_of(training.run)[-1].values == {"optim.nesterov": False, "sched.kind": "linear"}


def test_error_stands_beside_its_field_and_nothing_is_sent(form: Any, training: Training) -> None:
    page = form
    asked = len(read_events(training.run))
    for text, reason in [
        ("fast", "the key takes a number (float)"),
        ("nan", "the key takes a finite number (float)"),
        ("7", "the most that is allowed is 1"),
    ]:
        field(page, "lr").fill(text)
        expect(page.locator("p.Mui-error")).to_have_text(reason)
        expect(field(page, "lr")).to_have_attribute("aria-invalid", "true")
        expect(button(page, "Apply")).to_be_disabled()
    field(page, "betas").fill("[0.9, 0.98")
    expect(page.locator("p.Mui-error").filter(has_text="not a list, such as [1, 2]")).to_be_visible()
    button(page, "Discard").click()
    expect(page.locator("p.Mui-error")).to_have_count(0)
    expect(field(page, "betas")).not_to_have_value("[0.9, 0.98")
    assert len(read_events(training.run)) == asked


def test_locked_field_is_disabled_and_says_why(form: Any) -> None:
    page = form
    expect(field(page, "width")).to_be_disabled()
    expect(field(page, "lr")).to_be_enabled()
    expect(page.locator("p").filter(has_text="locked: the <b>weights</b> have this shape")).to_be_visible()


def test_text_being_typed_survives_an_edit_from_elsewhere(form: Any, training: Training) -> None:
    page = form
    field(page, "lr").fill("0.25")
    request = file_request(training.run, {"optim.lr": "0.125"}, via="test")
    event = wait_for_answer(training.run, request, 20)
    assert event is not None
    assert event.state == "applied"
    expect(page.get_by_text("now 0.125")).to_be_visible()
    expect(field(page, "lr")).to_have_value("0.25")
    expect(page.get_by_text("1 pending edit", exact=True)).to_be_visible()
    button(page, "Discard").click()
    expect(field(page, "lr")).to_have_value("0.125")


def test_form_closes_when_the_run_ends(page: Any, url: str, training: Training, base: Path) -> None:
    short = Training.start(training.run.path.parent, "short", base / "short.json")
    try:
        open_run(page, url, "short")
        expect(field(page, "lr")).to_be_enabled()
    finally:
        short.stop()
    expect(page.get_by_text("This run is not running (done)")).to_be_visible()
    expect(field(page, "lr")).to_be_disabled()
    expect(button(page, "Apply")).to_have_count(0)


def test_hostile_names_and_values_are_only_text(page: Any, url: str, ended: RunDir) -> None:
    assert state_of(ended) == "done"
    page.goto(url)
    page.get_by_role("link", name=ODD).click()
    expect(page).to_have_title(f"trainctl · {ODD}")
    expect(field(page, "tag")).to_have_value("<img src=x onerror=window.pwned=1>")
    expect(page.get_by_text("This run is not running (done)")).to_be_visible()
    settle(page)
    assert page.evaluate("window.pwned") is None
    assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("name", ["../..", "/etc", "no such run"])
def test_page_of_no_run_says_so(page: Any, url: str, name: str) -> None:
    page.goto(run_url(url, name))
    expect(page.get_by_text("There is no run")).to_be_visible()


def test_no_request_leaves_the_machine(page: Any, context: Any, url: str) -> None:
    page.goto(url)
    expect(page.get_by_role("link", name=NAME)).to_be_visible()
    open_run(page, url, NAME)
    hosts = {urlsplit(asked.removeprefix("blob:")).hostname for asked in context.asked if not asked.startswith("data:")}
    assert hosts == {"127.0.0.1"}


@pytest.mark.parametrize("width", [1400, 390])
def test_page_fits_its_window(form: Any, width: int) -> None:
    """Nothing is wider than the window; a screenshot for people is kept where SCREENSHOTS says."""
    try:
        form.set_viewport_size({"width": width, "height": 900})
        wait_for(
            lambda: form.evaluate("document.scrollingElement.scrollWidth") <= width, "a page as wide as its window"
        )
        assert field(form, "warmup").bounding_box()["width"] >= 120
        if kept := os.environ.get("SCREENSHOTS"):
            form.screenshot(path=Path(kept) / f"run-{width}.png")
    finally:
        form.set_viewport_size({"width": 1400, "height": 900})
