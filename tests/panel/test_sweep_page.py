"""The page of a sweep: table, slots, failures, overlay, results, relations, comparison, and many runs at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import CHROMIUM, NAME, Training, button, expect, field, settle, shot, wait_for
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
    return page.locator(".tabulator-row").filter(has=page.get_by_role("link", name=name, exact=True))


def choose(page: Any, *names: str) -> None:
    for name in names:
        row_of(page, name).get_by_role("checkbox").click()
    expect(page.get_by_text(f"{len(names)} chosen")).to_be_visible()


def links(page: Any) -> Any:
    return page.locator(".tabulator-row a")


def test_table_counts_sorts_filters_groups_and_hides(table: Any) -> None:
    page = table
    expect(page.get_by_text(re.compile(r"^3[34] runs"))).to_be_visible()  # another test adds one
    expect(row_of(page, NAME)).to_contain_text("running")
    step = row_of(page, NAME).locator('[tabulator-field="step"]')
    first = step.inner_text()
    expect(step).not_to_have_text(first)  # the row follows the run
    page.locator('.tabulator-col[tabulator-field="result"]').click()
    page.locator('.tabulator-col[tabulator-field="result"]').click()
    expect(page.locator('.tabulator-row [tabulator-field="result"]').first).to_have_text("0.912")
    page.get_by_label("Filter runs").fill("norm=new lr=0.1 seed=0")
    expect(links(page)).to_have_count(1)
    expect(page).to_have_url(re.compile("filter="))
    page.get_by_label("Filter runs").fill("")
    page.get_by_label("state", exact=True).click()
    page.get_by_role("menuitem", name="failed").click()
    expect(links(page)).to_have_count(3)
    page.get_by_label("group by").click()
    page.get_by_role("menuitem", name="norm", exact=True).click()
    expect(page.locator(".tabulator-group").first).to_be_visible()
    shot(page, "sweep-grouped")
    edits = page.locator('.tabulator-col[tabulator-field="edits"]')
    expect(edits).to_be_visible()
    page.get_by_label("hide columns").first.click()
    page.get_by_role("menuitem", name="edits").or_(page.get_by_role("option", name="edits")).first.click()
    expect(edits).to_be_hidden()
    page.keyboard.press("Escape")


def test_names_and_values_of_runs_are_only_text(table: Any) -> None:
    page = table
    page.get_by_label("Filter runs").fill("hostile")
    expect(links(page)).to_have_count(1)
    page.get_by_label("group by").click()
    page.get_by_role("menuitem", name="norm", exact=True).click()
    expect(page.locator(".tabulator-group").filter(has_text="<img src=x")).to_be_visible()
    assert page.evaluate("window.pwned") is None
    assert page.locator("img[src=x]").count() == 0


def test_slots_and_reasons_are_one_click_away(table: Any) -> None:
    page = table
    expect(page.get_by_label("slots")).to_contain_text("idle")
    page.get_by_text("3 failed or interrupted").click()
    page.locator("details details summary").first.click()
    expect(page.get_by_text("the loss is nan").first).to_be_visible()
    page.get_by_role("link", name="its log").first.click()
    expect(page.get_by_role("region", name="log")).to_contain_text("log of Norm_batch")
    expect(page.get_by_text("This run is not running (failed)")).to_be_visible()


def test_chosen_runs_are_overlaid_and_the_link_leads_there_again(table: Any, url: str) -> None:
    page = table
    page.get_by_label("Filter runs").fill("norm=new lr=0.1")
    choose(page, "Norm_new-Lr_0.1-Seed_0", "Norm_new-Lr_0.1-Seed_1")
    expect(page.get_by_label("metric")).to_have_text(re.compile("loss"))
    data = "Object.values(Bokeh.index).flatMap(v => [...v.model.document._all_models.values()])"
    drawn = f"""() => {data}.filter(m => m.type == 'ColumnDataSource' && (m.data.step || []).length == 20)
        .map(m => m.data.step.filter(steps => steps.length == 100).length)[0]"""
    wait_for(lambda: page.evaluate(drawn) == 2, "two curves")
    marks = f"""() => {data}.filter(m => m.type == 'ColumnDataSource' && m.data.text && m.data.color
        && [...m.data.step].join() == '50,50').length > 0"""
    wait_for(lambda: page.evaluate(marks), "the edit of each")
    expect(page).to_have_url(re.compile("runs=Norm_new"))
    shot(page, "sweep-overlay")
    again = page.evaluate("location.href")
    page.goto("about:blank")
    page.goto(again)
    expect(page.get_by_text("2 chosen")).to_be_visible()
    page.get_by_role("link", name="compare both").click()
    expect(page).to_have_title("trainctl · compare")
    expect(page.get_by_role("cell", name="seed")).to_be_visible()
    expect(page.get_by_text("Both have the same edits.")).to_be_visible()
    wait_for(lambda: page.evaluate(drawn) == 2, "both curves")
    shot(page, "compare")


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


def test_parameters_are_drawn_against_what_came_out(table: Any) -> None:
    page = table
    page.get_by_role("tab", name="relations").click()
    data = "Object.values(Bokeh.index).flatMap(v => [...v.model.document._all_models.values()])"
    lines = f"() => Math.max(0, ...{data}.filter(m => m.data && m.data.said).map(m => m.data.run.length))"
    wait_for(lambda: page.evaluate(lines) >= 27, "a line per finished run")
    page.get_by_label("parameter").click()
    page.get_by_role("menuitem", name="optim.lr").click()
    expect(page).to_have_url(re.compile("tab=relations"))
    shot(page, "sweep-relations")


def test_one_edit_reaches_all_chosen_runs(table: Any, training: Training, sweep: Training) -> None:
    page = table
    page.get_by_label("state", exact=True).click()
    page.get_by_role("menuitem", name="running").click()
    expect(links(page)).to_have_count(2)
    choose(page, NAME, "Lr_second")
    page.get_by_label("key", exact=True).click()
    page.get_by_role("menuitem", name="sched.warmup").click()
    field(page, "new value").fill("777")
    button(page, "Apply to 2").click()
    expect(page.get_by_role("status").filter(has_text=re.compile(r"applied at step \d+"))).to_have_count(2)
    wait_for(lambda: training.sees(warmup=777) and sweep.sees(warmup=777), "the value in both trainings")
    button(page, "Pause").click()
    expect(page.get_by_role("status").filter(has_text=re.compile("pause applied"))).to_have_count(2)
    expect(page.locator(".chip.paused").first).to_be_visible()
    shot(page, "sweep-bulk")
    button(page, "Resume").click()
    expect(page.get_by_role("status").filter(has_text=re.compile("resume applied"))).to_have_count(2)


def test_open_page_shows_runs_that_start(table: Any, training: Training) -> None:
    make_run(training.run.path.parent, "A_new_one", ["norm=new"])
    expect(table.get_by_role("link", name="A_new_one")).to_be_visible()
