"""What the page of a run answers: what was asked, what was done, what waits and how it is taken back."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import CHROMIUM, PATIENCE_S, box_of, button, expect, run_url, settle, wait_for

from trainctl.config.changelog import loads
from trainctl.config.settings import PanelSettings
from trainctl.panel.server import handle as process
from trainctl.rundir.events import read_events, wait_for_answer
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir
from trainctl.rundir.waiting import waiting

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed on this machine")

TRAINING = Path(__file__).with_name("asked_training.py")
FAR = 10**9


@contextlib.contextmanager
def trained(path: Path, *overrides: str) -> Iterator[RunDir]:
    run, stop = RunDir.at(path), Path(f"{path}.stop")
    with subprocess.Popen([sys.executable, str(TRAINING), str(path), *overrides]) as training:
        try:
            wait_for(lambda: run.metrics.exists() and run.metrics.stat().st_size, "the start of training")
            yield run
        finally:
            stop.touch()
            training.wait(PATIENCE_S)
    stop.unlink()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDir]:
    with trained(tmp_path_factory.mktemp("answers") / "root" / "run") as run:
        yield run


@pytest.fixture(scope="module")
def served(run: RunDir) -> Iterator[str]:
    handle = process.ensure(run.path.parent, PanelSettings(keep_min=0))
    assert handle is not None
    yield handle.url
    handle.close()


@pytest.fixture(scope="module")
def opened(browser: Any, served: str) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.set_default_timeout(1000 * PATIENCE_S)
    page = context.new_page()
    page.goto(served)
    page.goto(run_url(served, "run"))
    yield page
    context.close()


@pytest.fixture
def page(opened: Any) -> Any:
    """The page of the run without an answer to what another test has asked."""
    if opened.get_by_role("status").count():
        opened.reload()
    expect(button(opened, "Pause")).to_be_visible()
    settle(opened)
    return opened


def answer(page: Any, text: str | re.Pattern[str]) -> Any:
    return page.get_by_role("status").filter(has_text=text)


def type_edit(page: Any, key: str, text: str) -> None:
    """Edit a key as a person would, whatever the form has for it."""
    field = page.get_by_label(re.compile(rf"^{key}\b"))
    field.first.click()
    page.get_by_role("textbox", name=re.compile(rf"^{key}\W*$")).fill(text)


def test_action_is_asked_for_and_then_done_and_one_that_the_loop_never_looks_for_is_not_there(
    page: Any, run: RunDir
) -> None:
    expect(button(page, "Checkpoint")).to_be_visible()  # once the loop has looked for one
    for name in ("Evaluate", "Stop", "Resume"):
        expect(button(page, name)).to_be_hidden()
    button(page, "Checkpoint").click()
    expect(answer(page, "checkpoint")).to_have_text(re.compile(r"^checkpoint (asked|taken) at step [\d,]+$"))
    expect(answer(page, "checkpoint")).to_have_text(re.compile(r"^checkpoint taken at step [\d,]+$"))
    assert (run.path / "checkpoint").exists()
    done = [event for event in read_events(run) if event.state == "done" and event.done is not None]
    expect(answer(page, f"checkpoint taken at step {done[-1].done:,}")).to_be_visible()


def test_answer_of_an_edit_says_who_has_read_it_or_in_yellow_that_nobody_has(page: Any) -> None:
    type_edit(page, "lr", "0.2")
    page.get_by_label("force").check()  # from wherever another test has left it
    button(page, "Apply").click()
    expect(answer(page, "lr")).to_have_text(re.compile(r"^lr applied at step [\d,]+, read at step [\d,]+$"))
    type_edit(page, "depth", "5")
    button(page, "Apply").click()
    told = answer(page, re.compile(r"^depth applied at step [\d,]+, not read within 20 steps"))
    expect(told).to_be_visible()
    assert told.evaluate("element => getComputedStyle(element).backgroundColor") == "rgb(245, 215, 110)"


def test_edit_beyond_max_change_is_refused_unless_it_is_forced(page: Any, run: RunDir) -> None:
    type_edit(page, "lr", "9")
    button(page, "Apply").click()
    expect(answer(page, re.compile("^lr rejected: .*ask again with force"))).to_be_visible()
    page.get_by_label("force").check()
    button(page, "Apply").click()
    expect(answer(page, re.compile(r"^lr applied at step"))).to_be_visible()
    assert loads(run.changelog.read_text()).edits[-1].values == {"lr": 9.0}
    expect(page.get_by_label("force")).not_to_be_checked()


@pytest.mark.slow
def test_what_waits_is_cancelled_and_an_edit_undone_where_it_stands(page: Any, run: RunDir) -> None:
    file_request(run, {"batch": "16"}, via="cli")
    late = file_request(run, {"lr": "0.3"}, via="cli", at=FAR)
    wait_for(lambda: len(waiting(read_events(run))) == 2, "two requests that wait")
    number = next(one.number for one in waiting(read_events(run)) if one.event.id == late)
    row = page.get_by_role("row").filter(has_text=f"waiting for step {FAR:,}")
    expect(page.get_by_role("row").filter(has_text="waiting for the next epoch")).to_be_visible()
    row.get_by_role("button", name=f"cancel request {number}", exact=True).click()
    expect(answer(page, f"cancel request {number}")).to_have_text(re.compile(r"done at step [\d,]+$"))
    expect(row).to_have_count(0)
    expect(page.get_by_role("row").filter(has_text="cancelled by")).to_be_visible()
    changelog = loads(run.changelog.read_text())
    before = changelog.at(max((each.step for each in changelog.edits), default=0))["lr"]
    edit = wait_for_answer(run, file_request(run, {"lr": "8.5"}, via="cli", force=True), PATIENCE_S)
    assert edit is not None
    page.reload()  # what was edited before a page is opened can be undone there too
    row = page.get_by_role("row").filter(has_text="8.5").filter(has_text="applied")
    kept = row.get_by_role("button").element_handle()
    file_request(run, {"batch": "17"}, via="cli")
    expect(page.get_by_role("row").filter(has_text="17").filter(has_text="waiting")).to_be_visible()
    assert kept.evaluate("button => button.isConnected")  # a press that began before another row came is not lost
    row.get_by_role("button", name=re.compile("undo edit")).click()
    expect(answer(page, re.compile(r"^undo of edit \d+ applied at step"))).to_be_visible()
    assert loads(run.changelog.read_text()).edits[-1].values == {"lr": before}


@pytest.mark.slow
def test_keys_filter_apply_and_discard(page: Any) -> None:
    page.reload()  # other tests leave the focus in some field
    expect(button(page, "Pause")).to_be_visible()
    settle(page)
    page.keyboard.press("/")
    expect(page.get_by_label(re.compile("^Filter keys"))).to_be_focused()
    page.keyboard.press("Tab")
    type_edit(page, "depth", "6")
    page.get_by_label("note").fill("deeper")
    page.get_by_label("note").press("Enter")
    expect(answer(page, re.compile(r"^depth applied at step"))).to_be_visible()
    type_edit(page, "depth", "7")
    expect(page.get_by_text("1 pending edit")).to_be_visible()
    expect(button(page, "Discard")).to_be_enabled()
    page.get_by_label("note").press("Escape")
    expect(page.get_by_text("No pending edits")).to_be_visible()


@pytest.mark.slow
def test_form_of_a_replay_is_read_only_from_the_start(page: Any, run: RunDir, served: str) -> None:
    source = run.path.parent / "source"
    with trained(source):
        pass
    with trained(run.path.parent / "again", f"trainctl.replay={source}"):
        try:
            page.goto(run_url(served, "again"))
            settle(page)
            expect(page.get_by_text("Read only: this run replays").first).to_be_visible()
            expect(button(page, "Apply")).to_be_hidden()
            expect(button(page, "Pause")).to_be_enabled()
            expect(
                page.get_by_role("textbox", name=re.compile(r"^lr\W*$")).and_(page.locator(":enabled"))
            ).to_have_count(0)
        finally:
            page.goto(run_url(served, "run"))


# how many labels of fields can be seen, and which of them lie on their field or are not on one line with it
LAID_OUT = """() => {
    const parts = [], seen = root => { for (const part of root.querySelectorAll("*")) {
        if (part.matches(".tools label") && part.checkVisibility()) parts.push(part);
        if (part.shadowRoot) seen(part.shadowRoot);
    } };
    seen(document);
    const wrong = parts.filter(part => {
        const field = part.querySelector("input, select").getBoundingClientRect(), range = document.createRange();
        const named = [...part.querySelectorAll("span:not(.why)"), part].flatMap(one => [...one.childNodes]);
        const text = named.find(one => one.nodeType === 3);
        range.selectNode(text);
        const said = range.getBoundingClientRect(), middle = one => (one.top + one.bottom) / 2;
        const isApart = said.right <= field.left || field.right <= said.left;
        return !isApart || Math.abs(middle(said) - middle(field)) > 2;
    });
    return [parts.length, wrong.map(part => part.textContent)];
}"""


def test_actions_stand_beside_the_facts(page: Any) -> None:
    def is_beside() -> bool:  # a page that another test has scrolled goes on moving when it is loaded anew
        chip, pause = (box_of(each) for each in (page.locator(".chip").first, button(page, "Pause")))
        middles = (one["y"] + one["height"] / 2 for one in (chip, pause))
        return abs(next(middles) - next(middles)) < 12 and pause["x"] > 700

    wait_for(is_beside, "the actions beside the facts")


@pytest.mark.slow
def test_labels_stand_beside_their_fields_and_on_one_line_with_them(page: Any) -> None:
    # not `wait_for_function`: it is evaluated in the page once more at each poll, which the page's policy refuses
    wait_for(lambda: page.evaluate(LAID_OUT)[0] >= 4, "the labels of the page")
    wait_for(lambda: page.evaluate(LAID_OUT)[1] == [], "labels beside their fields")


def test_bar_of_edits_breaks_no_rule_of_accessibility(page: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the check needs axe-playwright-python")
    found = axe.Axe().run(page).response["violations"]
    broken = {one["id"]: [node["html"][:160] for node in one["nodes"]] for one in found}
    assert {
        rule: nodes
        for rule, nodes in broken.items()
        if rule.startswith(("aria-prohibited", "aria-all", "label"))  # colours: test_theme
    } == {}
