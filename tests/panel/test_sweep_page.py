"""The page of a sweep: table, slots, failures, overlay, results, relations, comparison, and many runs at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import CHROMIUM, NAME, Training, box_of, button, expect, field, settle, shot, wait_for
from made_sweep import make_run, make_sweep

BAD = "<img src=x onerror=window.pwned=1>"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed on this machine"),
]


@pytest.fixture(scope="module", autouse=True)
def sweep(training: Training, base: Path) -> Iterator[Training]:
    """Finished runs, and a second one that trains."""
    root = training.run.path.parent
    make_sweep(root, 30)
    make_run(root, "hostile", [f"norm={BAD}"], slot=BAD)
    other = Training.start(root, "Lr_second", base / "second.json")
    yield other
    other.stop()


@pytest.fixture
def table(page: Any, url: str) -> Any:
    """The page of the sweep, with nothing chosen."""
    page.goto(url)
    expect(page.get_by_role("link", name=NAME)).to_be_visible()
    settle(page)
    return page


def row_of(page: Any, name: str) -> Any:
    return page.locator(".row").filter(has=page.get_by_role("link", name=name, exact=True))


def choose(page: Any, *names: str) -> None:
    for name in names:
        row_of(page, name).get_by_role("checkbox").click()
    expect(page.get_by_text(f"{len(names)} chosen")).to_be_visible()


def links(page: Any) -> Any:
    return page.locator(".row a")


def test_slots_and_reasons_are_one_click_away(table: Any) -> None:
    page = table
    expect(page.get_by_label("slots")).to_have_count(0)  # nothing runs on them any more
    page.get_by_text("3 failed or interrupted").click()
    page.locator("details details summary").first.click()
    expect(page.get_by_text("the loss is nan").first).to_be_visible()
    page.get_by_role("link", name="its log").first.click()
    expect(page.get_by_role("region", name="log")).to_contain_text("log of Norm_batch")
    expect(page.get_by_text("This run is not running (failed)")).to_be_visible()


def test_chosen_runs_are_compared_in_states_curves_configs_and_edits(table: Any) -> None:
    page = table
    page.get_by_label("Filter runs").fill("norm=new optim.lr=0.1")
    expect(links(page)).to_have_count(5)
    choose(page, "Norm_new-Lr_0.1-Seed_0", "Norm_new-Lr_0.1-Seed_1", "Norm_new-Lr_0.1-Seed_2")
    page.get_by_role("link", name="compare them").click()
    expect(page).to_have_title("trainctl · compare")
    loss = page.get_by_role("article", name="loss", exact=True)
    expect(loss.get_by_role("img")).to_have_attribute("aria-label", re.compile("^loss of 3 runs, steps 1 to 100"))
    expect(page.get_by_role("group", name="colours")).to_contain_text("Norm_new-Lr_0.1-Seed_2")
    config = page.get_by_role("row").filter(has=page.get_by_role("cell", name="seed", exact=True))
    expect(config.get_by_role("cell")).to_have_text(["seed", "'0'", "'1'", "'2'"])
    edits = page.get_by_role("row").filter(has=page.get_by_role("cell", name="50", exact=True))
    expect(edits.get_by_role("cell")).to_have_text(["50", *["lr 0.1 → 0.01"] * 3])
    page.get_by_role("button", name="log of loss").click()
    expect(page).to_have_url(re.compile("log=loss"))
    shot(page, "compare")
    page.reload()
    expect(loss.get_by_role("img")).to_have_attribute("aria-label", re.compile("^loss of 3 runs"))
    expect(page.get_by_role("button", name="log of loss")).to_have_attribute("aria-pressed", "true")


def test_results_fold_seeds_and_can_be_taken_away(table: Any) -> None:
    page = table
    page.get_by_role("tab", name="results").click()
    row = page.get_by_role("row").filter(has_text="0.90080 ± 0.00084").first
    expect(row).to_contain_text("new")
    for name, ending in (("CSV", "results.csv"), ("LaTeX", "results.tex"), ("Markdown", "results.md")):
        with page.expect_download() as taken:
            page.get_by_role("button", name=re.compile(name)).or_(
                page.get_by_role("link", name=re.compile(name))
            ).click()
        assert taken.value.suggested_filename == ending
        assert "0.9" in Path(taken.value.path()).read_text()
    shot(page, "sweep-results")


def test_parameters_are_drawn_against_what_came_out_and_runs_are_brushed(table: Any) -> None:
    page = table
    page.get_by_role("tab", name="parameters").click()
    part = page.get_by_role("region", name="parameters")
    expect(part.get_by_role("status")).to_have_text(re.compile("^27 runs that are done"))
    bars = part.get_by_role("group", name="what each parameter explains").get_by_role("button")
    expect(bars.first).to_have_text(re.compile(r"norm\d+ %"))
    expect(bars).to_have_text([re.compile("norm"), re.compile("optim.lr0 %"), re.compile("seed0 %")])
    bars.nth(1).click()
    expect(part.get_by_role("img", name="result over optim.lr of 27 runs, with its trend")).to_be_visible()
    box = box_of(part.locator(".plot").first)
    page.mouse.move(box["x"] + box["width"] - 64, box["y"] + 34)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 64, box["y"] + 50, steps=4)
    page.mouse.up()
    expect(part.get_by_role("status")).to_have_text("3 of 27 runs")  # with 0.912 of 0.9 to 0.912
    shot(page, "sweep-parameters")
    part.get_by_role("button", name="choose these").click()
    expect(page.get_by_text("3 chosen")).to_be_visible()
    expect(button(page, "Pause")).to_be_hidden()  # all three are done
    expect(page).to_have_url(re.compile("tab=parameters"))
    expect(page).to_have_url(re.compile("parameter=optim.lr"))
    page.reload()
    expect(part.get_by_role("img", name="result over optim.lr of 27 runs, with its trend")).to_be_visible()


def test_one_edit_reaches_all_chosen_runs(table: Any, training: Training, sweep: Training) -> None:
    page = table
    page.get_by_role("button", name="running 2").click()
    expect(links(page)).to_have_count(2)
    choose(page, NAME, "Lr_second")
    page.get_by_label("key", exact=True).select_option("sched.warmup")
    field(page, "new value").fill("777")
    button(page, "Apply to 2").click()
    expect(page.get_by_role("status").filter(has_text=re.compile(r"applied at step \d+"))).to_have_count(2)
    wait_for(lambda: training.sees(warmup=777) and sweep.sees(warmup=777), "the value in both trainings")
    button(page, "Pause").click()
    expect(page.get_by_role("status").filter(has_text=re.compile(r"pause\W.*paused at step \d+"))).to_have_count(2)
    expect(page.locator(".chip.paused").first).to_be_visible()
    shot(page, "sweep-bulk")
    button(page, "Resume").click()
    expect(page.get_by_role("status").filter(has_text=re.compile(r"resume\W.*resumed at step \d+"))).to_have_count(2)


def test_open_page_shows_runs_that_start(table: Any, training: Training) -> None:
    make_run(training.run.path.parent, "A_new_one", ["norm=new"])
    expect(table.get_by_role("link", name="A_new_one")).to_be_visible()
