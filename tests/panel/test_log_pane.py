"""The log tab of a pipeline: each command has its log and its state, and a person may choose any of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import CHROMIUM, NAME, Training, expect, run_url, settle
from made_pipeline import SECRET, MadePipeline

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed on this machine"),
]

Make = Callable[..., MadePipeline]
FOCUSED = """(() => { let e = document.activeElement
    while (e.shadowRoot && e.shadowRoot.activeElement) e = e.shadowRoot.activeElement
    return e.innerText })()"""


@pytest.fixture
def make(training: Training, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Make a pipeline of the page's directory that runs, named as the test."""
    made: list[MadePipeline] = []

    def begin(**states: str) -> MadePipeline:
        made.append(MadePipeline(training.run.path.parent / request.node.name))
        made[-1].says(**states)
        return made[-1]

    yield begin
    for one in made:
        one.end("done")


def look(page: Any, url: str, pipeline: MadePipeline, query: str = "") -> None:
    page.goto(f"{run_url(url, pipeline.run.name)}?tab=log{query}")
    settle(page)


def choice(page: Any, name: str) -> Any:
    """Return the button of a log: its name, then its state."""
    return page.get_by_role("button", name=re.compile(rf"^{name} (running|queued|done|failed|outdated)"))


def log(page: Any, name: str) -> Any:
    return page.get_by_role("region", name=f"log of {name}", exact=True)


def test_log_of_the_running_command_is_shown_and_goes_on_with_the_run(page: Any, url: str, make: Make) -> None:
    pipeline = make(prepare="done", train="running", test="queued")
    pipeline.write("train", "step 1\n")
    look(page, url, pipeline)
    expect(log(page, "train")).to_contain_text("step 1")
    expect(choice(page, "train")).to_have_attribute("aria-pressed", "true")
    pipeline.write("train", "step 1\nstep 2\n")
    expect(log(page, "train")).to_contain_text("step 2")
    pipeline.write("test", "BLEU 31\n")
    pipeline.says(prepare="done", train="done", test="running")
    expect(log(page, "test")).to_contain_text("BLEU 31")
    expect(choice(page, "train")).to_have_text("train\ndone", use_inner_text=True)
    expect(choice(page, "train")).to_have_attribute("aria-pressed", "false")


def test_log_that_a_person_chose_stays_and_its_link_leads_there(page: Any, url: str, make: Make) -> None:
    pipeline = make(prepare="done", train="running")
    pipeline.write("prepare", "prepared\n")
    look(page, url, pipeline)
    choice(page, "prepare").click()
    expect(log(page, "prepare")).to_contain_text("prepared")
    expect(page).to_have_url(re.compile(r"\?tab=log&log=prepare$"))
    choice(page, "prepare").click()  # a second press changes nothing
    pipeline.end("failed", prepare="done", train="failed")
    expect(choice(page, "train")).to_have_text("train\nfailed (3)", use_inner_text=True)
    expect(choice(page, "prepare")).to_have_attribute("aria-pressed", "true")
    expect(log(page, "prepare")).to_be_visible()
    choice(page, "job").click()
    expect(log(page, "job")).to_contain_text("train: python train.py")
    page.reload()
    expect(log(page, "job")).to_be_visible()


def test_failed_command_is_chosen_and_its_earlier_attempts_are_there(page: Any, url: str, make: Make) -> None:
    pipeline = make(prepare="done", train="running")
    for name, text in {"train": "third", "train.2": "second", "train.1": "first"}.items():
        pipeline.write(name, text)
    pipeline.end("failed", prepare="done", train="failed")
    look(page, url, pipeline)
    expect(log(page, "train")).to_contain_text("third")
    expect(page.get_by_label("attempt").locator("option")).to_have_text(["latest", "2", "1"])
    page.get_by_label("attempt").select_option("1")
    expect(log(page, "train.1")).to_contain_text("first")
    expect(page).to_have_url(re.compile(r"&log=train\.1$"))
    page.reload()
    expect(log(page, "train.1")).to_contain_text("first")
    choice(page, "prepare").click()
    expect(page.get_by_text("Nothing has been written to prepare.log.")).to_be_visible()
    expect(page.get_by_label("attempt")).to_be_hidden()


def test_log_can_be_chosen_by_keyboard_alone(page: Any, url: str, make: Make) -> None:
    pipeline = make(prepare="done", train="running")
    pipeline.write("prepare", "prepared\n")
    look(page, url, pipeline)
    page.get_by_label("Search the log").focus()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate(FOCUSED).startswith("prepare"):
            break
    page.keyboard.press("Enter")
    expect(log(page, "prepare")).to_contain_text("prepared")
    pipeline.says(prepare="outdated", train="running")  # the focus stays where it is
    expect(choice(page, "prepare")).to_have_text("prepare\noutdated", use_inner_text=True)
    assert page.evaluate(FOCUSED).startswith("prepare")


def test_log_of_a_command_shows_no_secret_and_no_markup(page: Any, url: str, make: Make) -> None:
    pipeline = make(train="running")
    pipeline.write("train", f"login as {SECRET}\n<img src=x onerror=window.pwned=1>\n")
    look(page, url, pipeline)
    expect(log(page, "train")).to_contain_text("login as •••")
    expect(log(page, "train")).to_contain_text("<img src=x")
    assert SECRET not in page.content()
    assert page.evaluate("window.pwned") is None


def test_names_and_links_lead_to_no_file_outside_the_run(
    page: Any, url: str, make: Make, tmp_path: Path, training: Training
) -> None:
    outside = training.run.path.parent / "outside.log"
    outside.write_text("hush-hush")
    odd = {"../outside": "running", str(outside.with_suffix("")): "failed", "job": "failed", "": "failed"}
    pipeline = make(**odd, linked="failed", **{"<b>bold": "queued"})
    (pipeline.run.path / "linked.log").symlink_to(outside)
    (pipeline.run.path / "linked.1.log").symlink_to(outside)
    look(page, url, pipeline, "&log=../outside")
    expect(page.get_by_text("linked.log cannot be read: it is a link, which is not followed.")).to_be_visible()
    expect(page.get_by_label("attempt")).to_be_hidden()
    shown = page.locator("button[aria-pressed]")
    expect(shown).to_have_text(["job\nrunning", "linked\nfailed", "<b>bold\nqueued"], use_inner_text=True)
    assert "hush-hush" not in page.content()


def test_run_without_commands_has_nothing_to_choose(page: Any, url: str) -> None:
    page.goto(f"{run_url(url, NAME)}?tab=log&log=train")
    settle(page)
    expect(page.get_by_role("region", name="log", exact=True)).to_contain_text("100%")
    expect(page.locator("button[aria-pressed]")).to_have_count(0)
    expect(page.get_by_label("attempt")).to_be_hidden()
