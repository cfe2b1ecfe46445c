"""For everybody: by axe's rules, by keyboard, on a narrow screen, in the dark, read-only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from browsing import (
    CHROMIUM,
    NAME,
    READ,
    Training,
    button,
    expect,
    open_run,
    row_of_key,
    run_url,
    settle,
    shot,
    value,
    wait_for,
)
from made_pipeline import MadePipeline
from made_sweep import make_sweep

from trainctl.panel.auth.access import reader_url
from trainctl.rundir.events import read_events

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed on this machine"),
]

PIPELINE = "Commands"
GROUND = "getComputedStyle(document.body).backgroundColor"

# rules that only markup out of reach from Python breaks, each with whose it is
NOT_OURS = {
    "aria-progressbar-name",  # the page's own bar of pmui.Page, which never shows here
    "empty-heading",  # pmui.Page: a heading of a blank, beside the title
    "heading-order",  # pmui.Page: that heading is of the fifth level
    "page-has-heading-one",  # pmui.Page: its title is not a heading
    "region",  # Bokeh puts its roots beside all landmarks
}


@pytest.fixture(scope="module", autouse=True)
def sweep(training: Training) -> None:
    make_sweep(training.run.path.parent, 12)


@pytest.fixture(scope="module", autouse=True)
def commands(training: Training) -> Iterator[None]:
    """A pipeline in its last command, which is tried for the second time."""
    pipeline = MadePipeline(training.run.path.parent / PIPELINE)
    for name in ("prepare", "train", "test", "test.1"):
        pipeline.write(name, "".join(f"\033[3{colour}mline {colour}\033[0m of {name}\n" for colour in range(8)))
    pipeline.says(prepare="done", train="failed", average_checkpoints="outdated", test="running", report="queued")
    yield
    pipeline.end("done")


@pytest.fixture
def reader(browser: Any, url: str) -> Iterator[Any]:
    """A tab of somebody who has the link that only shows."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.goto(reader_url(url))
    yield page
    context.close()


def places(url: str) -> dict[str, str]:
    base = url.partition("?")[0]
    return {
        "run": run_url(url, NAME),
        "log": f"{run_url(url, NAME)}?tab=log",
        "commands": f"{run_url(url, PIPELINE)}?tab=log",
        "ended": run_url(url, "Norm_new-Lr_0.1-Seed_0"),
        "sweep": base,
        "compare": f"{base}compare?a={NAME}&b=Norm_new-Lr_0.1-Seed_0",
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", ["run", "log", "commands", "ended", "sweep", "compare"])
def test_page_passes_an_automated_accessibility_check(page: Any, url: str, place: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the check needs axe-playwright-python")
    page.goto(places(url)[place])
    settle(page)
    expect(page.get_by_text(re.compile("running")).first).to_be_visible()
    if place in ("log", "commands"):
        expect(page.get_by_role("region", name="log")).to_be_visible()
    if scheme == "dark":
        light = page.evaluate(GROUND)
        page.get_by_role("button", name="Toggle theme").click()
        wait_for(lambda: page.evaluate(GROUND) != light, "the dark ground")
    found: dict[str, Any] = {}

    def is_clean() -> bool:  # colours glide from one theme to the other
        violations = axe.Axe().run(page).response["violations"]
        found.clear()
        found.update({one["id"]: [node["html"][:160] for node in one["nodes"]] for one in violations})
        return set(found) <= NOT_OURS

    try:
        wait_for(is_clean, "a page without violations")
    except AssertionError:
        pytest.fail(str({rule: nodes for rule, nodes in found.items() if rule not in NOT_OURS}))
    shot(page, f"{place}-{scheme}")


@pytest.mark.parametrize("place", ["run", "log", "commands", "sweep", "compare"])
def test_page_fits_a_narrow_window(page: Any, url: str, place: str) -> None:
    try:
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(places(url)[place])
        settle(page)
        wait_for(lambda: page.evaluate("document.scrollingElement.scrollWidth") <= 390, "a page as wide as its window")
        shot(page, f"{place}-390")
    finally:
        page.set_viewport_size({"width": 1400, "height": 900})


def test_edit_can_be_made_by_keyboard_alone(form: Any, training: Training) -> None:
    page = form
    page.keyboard.press("/")
    page.keyboard.type("warm")
    expect(page.get_by_text("1 of 19 keys")).to_be_visible()
    page.keyboard.press("ArrowDown")  # the group
    page.keyboard.press("ArrowDown")
    page.keyboard.press("e")
    page.keyboard.type("77")
    page.keyboard.press("Escape")
    expect(value(page, "sched.warmup")).to_be_visible()
    page.keyboard.press("e")
    page.keyboard.type("1234")
    expect(page.get_by_text("1 pending edit", exact=True)).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="sched.warmup")).to_have_text(READ)
    wait_for(lambda: training.sees(warmup=1234), "the value in the training process")


def test_reader_sees_everything_and_can_ask_for_nothing(reader: Any, url: str, training: Training) -> None:
    page = reader
    asked = len(read_events(training.run))
    open_run(page, url, NAME)
    expect(page.get_by_text("Read only")).to_be_visible()
    for key in ("optim.lr", "sched.warmup"):
        expect(value(page, key)).to_be_visible()
        expect(row_of_key(page, key).get_by_role("button")).to_have_count(0)
    expect(button(page, "Stop")).to_be_disabled()
    expect(button(page, "Apply")).to_have_count(0)
    expect(page.get_by_role("button", name=re.compile("undo edit"))).to_have_count(0)
    # whoever bends the page's own models still gets nothing: the server asks who it is
    page.evaluate("""() => {
        const models = Object.values(Bokeh.index).flatMap(v => [...v.model.document._all_models.values()])
        for (const model of models) {
            if (model.data && model.data.disabled !== undefined) model.data.disabled = false
            if (model.data && model.data.clicks !== undefined) model.data.clicks = model.data.clicks + 1
        }
    }""")
    page.get_by_role("tab", name="log").click()
    expect(page.get_by_role("region", name="log")).to_be_visible()
    assert len(read_events(training.run)) == asked
    assert list(training.run.inbox.iterdir()) == []
