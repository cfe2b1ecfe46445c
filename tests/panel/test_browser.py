"""The page as a person sees it: a real server, a real training, a real Chromium."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from browsing import (
    CHROMIUM,
    NAME,
    READ,
    Training,
    box_of,
    button,
    edit,
    expect,
    open_run,
    row_of_key,
    run_url,
    settle,
    show_all_keys,
    value,
    wait_for,
)

from trainctl.config import changelog
from trainctl.rundir.events import read_events, wait_for_answer
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import state_of

ODD = "Norm_<img src=x onerror=window.pwned=1> #%"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed on this machine")


@pytest.fixture(scope="module")
def ended(training: Training, base: Path) -> RunDir:
    """A run that has ended; its name is hostile."""
    once = Training.start(base / "root", ODD, base / "once.json")
    once.stop()
    return once.run


def edits_of(run: RunDir) -> list[Any]:
    return changelog.loads(run.changelog.read_text()).edits


def test_link_opens_the_table_and_a_run(page: Any, url: str, training: Training, ended: RunDir) -> None:
    page.goto(url)
    expect(page).to_have_title(f"trainctl · {training.run.path.parent.name}")
    assert "token" not in page.url
    row = page.get_by_role("row").filter(has_text=NAME)
    expect(row).to_contain_text("running")
    expect(page.get_by_text("done").first).to_be_visible()
    row.get_by_role("link", name=NAME).click()
    expect(page).to_have_title("trainctl · Lr_0.0005")
    expect(value(page, "optim.lr")).to_be_visible()
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
    edit(page, "sched.warmup", "812")
    expect(page.get_by_text("now 500", exact=True)).to_be_visible()
    edit(page, "optim.betas", "[0.9, 0.95]")
    expect(page.get_by_text("2 pending edits")).to_be_visible()
    page.get_by_label("note").fill("calmer: # {x}")
    expect(button(page, "Apply")).to_be_enabled()
    answer = page.get_by_role("status")
    expect(answer).to_have_count(0)
    button(page, "Apply").click()
    expect(answer).to_have_text(READ)
    step = int(answer.inner_text().split()[-1].replace(",", ""))
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
    value(page, "optim.nesterov").click()
    expect(page.get_by_role("switch", name="optim.nesterov")).not_to_be_checked()
    expect(page.get_by_text("1 pending edit", exact=True)).to_be_visible()
    edit(page, "sched.kind").select_option("linear")
    expect(page.get_by_text("2 pending edits")).to_be_visible()
    expect(page.get_by_role("status")).to_have_count(0)
    button(page, "Apply").click()
    expect(page.get_by_role("status")).to_have_text(re.compile(r"applied at step [\d,]+"))
    wait_for(lambda: training.sees(kind="linear"), "the choice in the training process")
    assert edits_of(training.run)[-1].values == {"optim.nesterov": False, "sched.kind": "linear"}


def test_error_stands_beside_its_field_and_nothing_is_sent(form: Any, training: Training) -> None:
    page = form
    asked = len(read_events(training.run))
    for text, reason in [
        ("fast", "the key takes a number (float)"),
        ("nan", "the key takes a finite number (float)"),
        ("7", "the maximum is 1"),
    ]:
        widget = edit(page, "optim.lr", text)
        expect(row_of_key(page, "optim.lr").locator(".hint")).to_have_text(reason)
        expect(widget).to_have_attribute("aria-invalid", "true")
        expect(button(page, "Apply")).to_be_disabled()
    edit(page, "optim.betas", "[0.9, 0.98")
    expect(row_of_key(page, "optim.betas").locator(".hint")).to_have_text("not a list, such as [1, 2]")
    button(page, "Discard").click()
    expect(page.locator(".wrong")).to_have_count(0)
    expect(value(page, "optim.betas")).to_have_text(re.compile(r"^\[0\.9, 0\.9\d+\]$"))
    assert len(read_events(training.run)) == asked


def test_locked_key_is_text_with_a_sign_that_says_why(form: Any) -> None:
    page = form
    expect(row_of_key(page, "model.width")).to_have_count(0)
    show_all_keys(page)
    row = row_of_key(page, "model.width")
    sign = row.get_by_role("img", name="locked: the <b>weights</b> have this shape", exact=True)
    expect(sign).to_have_attribute("title", "locked: the <b>weights</b> have this shape")
    expect(row).to_have_text(re.compile(r"^\s*width\s*64$"))
    row.click()
    expect(row.locator("button, input")).to_have_count(0)
    button(page, "all 19 keys").click()
    expect(row).to_have_count(0)


def test_text_being_typed_survives_an_edit_from_elsewhere(form: Any, training: Training) -> None:
    page = form
    edit(page, "optim.lr", "0.25")
    request = file_request(training.run, {"optim.lr": "0.125"}, via="test")
    event = wait_for_answer(training.run, request, 60)
    assert event is not None
    assert event.state == "applied"
    expect(page.get_by_text("now 0.125")).to_be_visible()
    expect(edit(page, "optim.lr")).to_have_value("0.25")
    expect(page.get_by_text("1 pending edit", exact=True)).to_be_visible()
    button(page, "Discard").click()
    expect(value(page, "optim.lr")).to_have_text("0.125")


def test_form_closes_when_the_run_ends(page: Any, url: str, training: Training, base: Path) -> None:
    short = Training.start(training.run.path.parent, "short", base / "short.json")
    try:
        open_run(page, url, "short")
        expect(row_of_key(page, "optim.lr").get_by_role("button")).to_be_visible()
    finally:
        short.stop()
    expect(page.get_by_text("This run is not running (done)")).to_be_visible()
    expect(row_of_key(page, "optim.lr").get_by_role("button")).to_have_count(0)
    expect(value(page, "optim.lr")).to_be_visible()
    expect(button(page, "Apply")).to_have_count(0)


def test_hostile_names_and_values_are_only_text(page: Any, url: str, ended: RunDir) -> None:
    assert state_of(ended) == "done"
    page.goto(url)
    page.get_by_role("link", name=ODD).click()
    expect(page).to_have_title(f"trainctl · {ODD}")
    expect(value(page, "tag")).to_have_text("<img src=x onerror=window.pwned=1>")
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
        assert box_of(value(form, "sched.warmup"))["width"] >= 120
        if kept := os.environ.get("SCREENSHOTS"):
            form.screenshot(path=Path(kept) / f"run-{width}.png")
    finally:
        form.set_viewport_size({"width": 1400, "height": 900})
