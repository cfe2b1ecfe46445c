"""The page of one run, complete: everything that a person can see and do there, in a real Chromium."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from browsing import (
    CHROMIUM,
    NAME,
    READ,
    Training,
    button,
    edit,
    expect,
    field,
    open_run,
    row_of_key,
    run_url,
    settle,
    shot,
    show_all_keys,
    value,
    wait_for,
)

from trainctl.config import changelog
from trainctl.rundir.events import read_events, wait_for_answer
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed on this machine"),
]


def edits_of(run: RunDir) -> list[Any]:
    return changelog.loads(run.changelog.read_text()).edits


def tab(page: Any, name: str) -> Any:
    return page.get_by_role("tab", name=name)


def row_of(page: Any, *words: str) -> Any:
    row = page.get_by_role("row")
    for word in words:
        row = row.filter(has_text=word)
    return row.first


def test_filter_leaves_the_keys_that_have_its_words(form: Any) -> None:
    page = form
    filtered = page.get_by_label("Filter keys")
    filtered.fill("optim LR")
    expect(value(page, "sched.warmup")).to_be_hidden()
    expect(page.get_by_text("sched", exact=True)).to_be_hidden()
    expect(value(page, "optim.lr")).to_be_visible()
    filtered.fill("COS")  # a value
    expect(page.locator("[data-key]")).to_have_count(1)
    expect(value(page, "sched.kind")).to_be_visible()
    filtered.fill("nothing like it")
    expect(page.get_by_text("No steerable key or value has nothing and like and it in it.")).to_be_visible()
    filtered.press("Escape")
    expect(value(page, "sched.warmup")).to_be_visible()


def test_buttons_halve_and_double_a_number_and_the_slider_moves_it(form: Any) -> None:
    page = form
    lr = edit(page, "optim.lr", "3e-4")
    button(page, "double optim.lr").click()
    expect(lr).to_have_value("0.0006")
    button(page, "halve optim.lr").click()
    button(page, "halve optim.lr").click()
    expect(lr).to_have_value("0.00015")
    edit(page, "sched.warmup")
    button(page, "raise sched.warmup").click()
    expect(page.get_by_text("2 pending edits")).to_be_visible()
    dropout = edit(page, "model.dropout")
    slider = page.get_by_role("slider", name="model.dropout slider")
    before = dropout.input_value()
    slider.focus()
    slider.press("ArrowRight")
    expect(dropout).not_to_have_value(before)
    dropout.fill("0.45")
    expect(slider).to_have_value("100")
    expect(page.get_by_text("3 pending edits")).to_be_visible()
    shot(page, "run-pending")


def test_edit_for_a_later_step_waits_for_it_and_is_applied_there(form: Any, training: Training) -> None:
    page = form
    edit(page, "sched.warmup", "901")
    page.get_by_label("at step").fill("soon")
    expect(page.get_by_text("not a step, such as 1200")).to_be_visible()
    expect(button(page, "Apply")).to_be_disabled()
    step = training.step + 600
    page.get_by_label("at step").fill(str(step))
    button(page, "Apply").click()
    answer = page.get_by_role("status").filter(has_text="sched.warmup")
    expect(answer).to_have_text(re.compile(rf"^sched.warmup waiting: for step {step:,} \(request \d+\)$"))
    expect(value(page, "sched.warmup")).not_to_have_text("901")
    expect(page.get_by_text("No pending edits")).to_be_visible()
    expect(row_of(page, "901", "waiting")).to_be_visible()
    expect(answer).to_have_text(f"sched.warmup applied at step {step:,}, read at step {step:,}")
    expect(value(page, "sched.warmup")).to_have_text("901")
    assert [edit.values for edit in edits_of(training.run) if edit.step == step] == [{"sched.warmup": 901}]


def test_paused_run_says_that_requests_wait_and_goes_on(form: Any, training: Training) -> None:
    page = form
    button(page, "Pause").click()
    expect(page.get_by_role("status").filter(has_text="pause")).to_have_text(re.compile(r"^pause paused at step"))
    expect(page.get_by_text("paused", exact=True)).to_be_visible()
    expect(button(page, "Pause")).to_be_hidden()
    edit(page, "sched.warmup", "911")
    page.get_by_label("at step").fill(str(step := training.step + 60))
    button(page, "Apply").click()
    expect(page.get_by_role("status").last).to_have_text(
        re.compile(rf"^sched.warmup waiting: the run is paused \(for step {step:,}\) \(request \d+\)$")
    )
    assert not training.sees(warmup=911)
    button(page, "Resume").click()
    expect(page.get_by_role("status").filter(has_text="sched.warmup")).to_have_text(READ)
    expect(button(page, "Pause")).to_be_visible()
    wait_for(lambda: training.sees(warmup=911), "the edit after the pause")


def test_refusal_of_the_run_stands_where_it_was_asked(form: Any, training: Training) -> None:
    page = form
    edit(page, "sched.warmup", "921")
    page.get_by_label("at step").fill("1")
    button(page, "Apply").click()
    expect(page.get_by_role("status").filter(has_text="sched.warmup")).to_have_text(
        re.compile(r"^sched.warmup rejected: step 1 is over")
    )
    expect(edit(page, "sched.warmup")).to_have_value("921")
    expect(row_of(page, "921", "rejected")).to_contain_text("step 1 is over")


def test_undo_takes_an_edit_back(form: Any, training: Training) -> None:
    page = form
    before = float(value(page, "optim.lr").inner_text())
    request = file_request(training.run, {"optim.lr": "0.0625"}, via="test", note="to be undone")
    event = wait_for_answer(training.run, request, 60)
    assert event is not None
    row = row_of(page, "0.0625", "to be undone")
    row.get_by_role("button").click()
    expect(page.get_by_role("status").filter(has_text="undo")).to_have_text(
        re.compile(rf"^undo of edit \d+ {READ.pattern}")
    )
    wait_for(lambda: training.sees(lr=before), "the value before the edit")
    expect(row_of(page, "undo of")).to_be_visible()
    shot(page, "run-changelog")


def test_own_action_takes_its_arguments_from_fields(form: Any, training: Training) -> None:
    page = form
    expect(button(page, "sample")).to_be_disabled()  # n has no default
    field(page, "n").fill("four")
    expect(button(page, "sample")).to_be_disabled()
    field(page, "n").fill("4")
    button(page, "sample").click()
    expect(page.get_by_role("status").filter(has_text="sample")).to_have_text(
        re.compile(r"^sample n='?4'? done at step [\d,]+$")
    )
    wait_for(lambda: "sampled 4 fast" in training.run.log.read_text(), "the action's own output")
    done = [event for event in read_events(training.run) if event.action == "sample" and event.state == "applied"]
    assert done[-1].arguments == {"n": 4}


def test_log_follows_keeps_its_colours_and_can_be_searched(page: Any, url: str, training: Training) -> None:
    page.goto(f"{run_url(url, NAME)}?tab=log")
    expect(tab(page, "log")).to_have_attribute("aria-selected", "true")
    settle(page)
    log = page.get_by_role("region", name="log")
    expect(log).to_contain_text("100%")
    expect(log).not_to_contain_text("10%\r")
    expect(log).not_to_contain_text("verysecret")
    file_request(training.run, {}, via="test", action="sample", arguments={"n": "7"})
    expect(log.locator("span.r").filter(has_text="sampled 7 fast").first).to_be_visible()
    expect(log).to_contain_text("<b>")
    page.get_by_label("Search the log").fill("SAMPLED 7")
    expect(log).not_to_contain_text("100%")
    expect(log.locator("mark").first).to_have_text("sampled 7")
    shot(page, "run-log")


def test_tabs_show_config_overrides_and_files_without_secrets(page: Any, url: str) -> None:
    open_run(page, url, NAME)
    show_all_keys(page)
    for name in ("api_key", "hush"):
        expect(row_of_key(page, f"tracker.{name}")).to_have_text(re.compile(rf"^\s*{name}\s*•••$"))
    expect(value(page, "tracker.max_tokens")).to_have_text("512")
    tab(page, "config").click()
    expect(page).to_have_url(re.compile(r"\?tab=config$"))
    expect(page.get_by_text("warmup: ")).to_be_visible()
    tab(page, "overrides").click()
    expect(page.get_by_role("cell", name="executable")).to_be_visible()
    tab(page, "files").click()
    expect(page.get_by_role("cell", name="metrics.jsonl")).to_be_visible()
    page.get_by_label("read", exact=True).select_option("changelog.yaml")
    expect(page.get_by_text("api_key: •••")).to_be_visible()
    assert "verysecret" not in page.content()
    assert "a hidden value" not in page.content()
    tab(page, "run").click()
    expect(page).to_have_url(re.compile(r"/run/[^?]*\??$"))
    expect(value(page, "optim.lr")).to_be_visible()


def test_stop_asks_again_and_the_run_ends(page: Any, url: str, training: Training, base: Path) -> None:
    other = Training.start(training.run.path.parent, "stopped", base / "stopped.json")
    try:
        open_run(page, url, "stopped")
        button(page, "Stop").click()
        button(page, "Stop now?").click()
        expect(page.get_by_text("This run is not running (stopped)")).to_be_visible()
        assert other.process.wait(timeout=60) == 0
        expect(row_of_key(page, "optim.lr").get_by_role("button")).to_have_count(0)
        expect(button(page, "Pause")).to_be_hidden()
    finally:
        other.stop()
