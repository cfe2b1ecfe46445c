"""The cards of a run page: curves and values over the steps, drawn in a real Chromium, and what is sent for them."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from browsing import CHROMIUM, NAME, Training, expect, open_run, run_url, settle, shot, value, wait_for
from made_sweep import make_run

from trainctl.panel.data.curves import Curves
from trainctl.panel.data.run_view import RunRow, RunView, read_view
from trainctl.panel.data.usage import Usage
from trainctl.panel.widgets.plots import Charts, Plots
from trainctl.rundir import files
from trainctl.rundir.events import wait_for_answer
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir
from trainctl.rundir.summary import summarize

ENDED = "with_gaps"
EDIT = re.compile(r"step 50: lr 0\.1 → 0\.01 \(.*calmer\)")
IMPORT = "import(URL.createObjectURL(new Blob([code], {type: 'text/javascript'})))"
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed on this machine")


def log(run: RunDir, name: str, *values: float) -> None:
    first = 1 + len(files.read_lines(run.metrics))
    files.append_lines(run.metrics, [{"step": first + at, "t": 1.0, name: one} for at, one in enumerate(values)])


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    made = RunDir.at(tmp_path / "run")
    made.create()
    return made


def view_of(run: RunDir) -> RunView:
    return read_view(RunRow.of(run), [])


@pytest.fixture(scope="module")
def ended(training: Training) -> RunDir:
    """A run whose loss has an outlier at step 2, is NaN at steps 31 to 33 and 35, and has an edit at step 50."""
    run = make_run(training.run.path.parent, ENDED, ["norm=new"])
    values = [1.0, 1e6, *(1 / step for step in range(3, 101))]
    values[30:33], values[34] = [math.nan, math.inf, math.nan], math.nan
    run.metrics.unlink()
    log(run, "loss", *values)
    return run


@pytest.fixture
def cards(page: Any, url: str, ended: RunDir) -> Any:
    page.goto(run_url(url, ENDED))
    expect(card(page, "loss").locator(".line")).to_be_visible()
    settle(page)
    return page


def card(page: Any, name: str) -> Any:
    return page.locator(f"[data-card={json.dumps(name)}]")


def ticks(page: Any, name: str) -> list[str]:
    return list(card(page, name).locator(".of-step").all_text_contents())


def point_at(page: Any, name: str, share: float) -> tuple[float, float]:
    """Where a part of the step axis is on the screen."""
    box = card(page, name).locator("svg").bounding_box()
    return box["x"] + 58 + share * (box["width"] - 68), box["y"] + 60


@in_browser
def test_edit_is_a_mark_on_its_line_of_steps_and_says_what_changed_under_the_pointer(cards: Any) -> None:
    page = cards
    expect(card(page, "lr").locator(".mark")).to_have_count(1)
    expect(card(page, "lr").locator(".last")).to_have_text("0.01")
    for name in ("loss", "lr"):
        expect(card(page, name).locator(".edit")).to_have_attribute("data-text", EDIT)
        page.mouse.move(*point_at(page, name, 0.5))
        expect(page.get_by_role("tooltip")).to_contain_text(EDIT)
    page.mouse.move(*point_at(page, "loss", 0.25))
    expect(page.get_by_role("tooltip")).to_have_text(re.compile(r"^step 25\s*loss 0\.04$"))


@in_browser
def test_gaps_are_marked_points_between_them_are_dots_and_outliers_are_left_out(cards: Any) -> None:
    page = cards
    gaps = card(page, "loss").locator(".gap")
    assert [gaps.nth(at).get_attribute("data-text") for at in range(gaps.count())] == [
        "nan, inf at steps 31 to 33", "nan at step 35",
    ]  # fmt: skip
    expect(card(page, "loss").locator(".dot")).to_have_count(1)
    highest = card(page, "loss").locator(".of-value").last
    assert float(highest.text_content()) < 2
    page.get_by_label("outliers").check()
    expect(highest).to_have_text("1000000")
    page.get_by_label("outliers").uncheck()
    expect(highest).not_to_have_text("1000000")


@in_browser
def test_drag_chooses_steps_on_all_cards_and_double_click_goes_home(cards: Any) -> None:
    page = cards
    whole = ticks(page, "lr")
    assert whole[-1] == "100"
    page.mouse.move(*point_at(page, "loss", 0.4))
    page.mouse.down()
    page.mouse.move(*point_at(page, "loss", 0.6), steps=4)
    page.mouse.up()
    wait_for(lambda: ticks(page, "loss") == ticks(page, "lr") != whole, "the same steps on both cards")
    assert all(40 <= int(step) <= 60 for step in ticks(page, "lr"))
    page.reload()
    settle(page)
    wait_for(lambda: ticks(page, "lr") and ticks(page, "lr") != whole, "the chosen steps after a reload")
    page.mouse.dblclick(*point_at(page, "lr", 0.5))
    wait_for(lambda: ticks(page, "lr") == ticks(page, "loss") == whole, "all steps")


@in_browser
def test_smoothing_and_log_axis_are_the_browsers_own(cards: Any) -> None:
    page = cards
    line = card(page, "loss").locator(".line")
    before = line.get_attribute("d")
    page.get_by_label("smoothing").fill("0.9")
    expect(card(page, "loss").locator(".raw")).to_have_count(1)
    expect(line).not_to_have_attribute("d", before)
    page.get_by_label("smoothing").fill("0")
    expect(line).to_have_attribute("d", before)
    page.get_by_role("button", name="log axis of loss").click()
    expect(line).not_to_have_attribute("d", before)
    expect(page.get_by_role("button", name="log axis of loss")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="log axis of loss").click()


@in_browser
def test_cards_follow_a_run_and_show_what_is_ahead_of_its_step(page: Any, url: str, training: Training) -> None:
    open_run(page, url, NAME)
    path = card(page, "loss").locator(".line")
    wait_for(lambda: (path.get_attribute("d") or "").count("L") > 5, "points of a metric")
    first = path.get_attribute("d")
    expect(path).not_to_have_attribute("d", first)
    request = file_request(training.run, {"sched.warmup": "640"}, via="test")
    assert wait_for_answer(training.run, request, 60) is not None
    expect(card(page, "sched.warmup").locator(".mark")).not_to_have_count(0)
    ahead = training.step + 5000
    request = file_request(training.run, {"sched.warmup": "650"}, via="test", at=ahead)
    said = f"ahead at step {ahead:,}: sched.warmup = 650 (waiting)"
    expect(card(page, "sched.warmup").locator(".ahead")).to_have_attribute("data-text", said)
    expect(card(page, "sched.warmup").locator(".coming")).to_have_count(1)
    expect(page.get_by_text(re.compile(r"^CPU \d+ %$"))).to_be_visible()
    expect(page.get_by_text(re.compile(r"^memory \d+(\.\d)? [MG]iB$"))).to_be_visible()
    page.get_by_label("add the card of a value").select_option("model.dropout")
    expect(card(page, "model.dropout").locator(".last")).to_have_text("0.1")
    shot(page, "run-cards")


@in_browser
def test_numbers_ticks_and_smoothing_of_the_cards(page: Any, url: str) -> None:
    page.goto(url)
    found = page.evaluate(
        f"""async code => {{
            const {{number, ticks, smooth, reach}} = await {IMPORT}
            return {{
                numbers: [0.972222, 123456.7, 3, 1e-5, 1.5e12, NaN, -Infinity, 0.0001].map(number),
                ticks: [ticks(0, 1, 4, false), ticks(0.001, 1, 4, true), ticks(980, 1020, 4, false)],
                smooth: smooth([0, 1, NaN, 3], 0.5).map(String),
                reach: [reach([1, 2, 3], false), reach([...Array(99).fill(1), 1e9], false), reach([NaN], false)],
            }}
        }}""",
        Charts._esm,
    )
    assert found["numbers"] == ["0.9722", "123457", "3", "1e-05", "1.5e+12", "nan", "-inf", "0.0001"]
    assert found["ticks"] == [[0, 0.5, 1], [0.001, 0.01, 0.1, 1], [980, 990, 1000, 1010, 1020]]
    assert found["smooth"] == ["0", "0.5", "NaN", "3"]
    assert found["reach"] == [[1, 3], [1, 1], None]


def test_only_new_points_are_sent_and_nothing_while_nothing_is_new(run: RunDir) -> None:
    run.changelog.write_text("0:\n  lr: 0.1\n#.\n")
    curves = Curves(run)
    log(run, "loss", 1.0, math.nan)
    curves.look()
    plots = Plots(view_of(run), curves)
    sent: list[str] = []
    plots.view.param.watch(lambda *events: sent.extend(event.name for event in events), list(Charts.param))
    plots.follow(view_of(run), curves)
    assert sent == []
    log(run, "loss", 0.5)
    curves.look()
    plots.follow(view_of(run), curves)
    ((name, first, is_whole, steps, values),) = plots.view.news["series"]
    assert (name, first, is_whole, list(steps), list(values)) == ("loss", 2, False, [3], [0.5])
    assert set(sent) <= {"news", "now"}
    for callback in plots.view._msg__callbacks:
        callback(SimpleNamespace(data={"again": "loss", "added": ["none", 3]}))
    ((name, first, is_whole, steps, _),) = plots.view.news["series"]
    assert (name, first, is_whole, list(steps)) == ("loss", 0, True, [1, 2, 3])


def test_page_without_metrics_says_what_will_appear(run: RunDir) -> None:
    run.changelog.write_text("0:\n  steps: 3\n  lr: 0.1\n#.\n")
    files.write_yaml(run.run, {"keys": {"steps": {"type": "int"}, "lr": {"type": "float"}}})
    plots = Plots(view_of(run), Curves(run))
    assert (plots.view.metrics, plots.view.news) == ([], {})
    assert list(plots.view.values) == ["lr"]  # a learning rate, while nothing was edited


def test_usage_of_a_run_is_that_of_its_processes() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        used = Usage()
        assert re.fullmatch(r"memory \d+ MiB", used._look(busy.pid, 1.0)[0])
        wait_for(lambda: int(used._look(busy.pid, 0.5)[0].split()[1]) > 1, "a share of a processor")
    finally:
        busy.kill()
        busy.wait()
    assert used._look(busy.pid, 1.0) == []


def test_usage_is_known_of_runs_of_this_machine_with_the_memory_of_their_slot(run: RunDir) -> None:
    here = dataclasses.replace(summarize(run), state="running", pid=os.getpid(), host=socket.gethostname(), slot="0")
    memory, gpu = Usage().figures(here, (300.0, 81920.0))
    assert memory.startswith("memory ")
    assert gpu == "GPU memory 300 MiB of 80.0 GiB"
    for other in ({"host": "elsewhere"}, {"state": "done"}, {"pid": None}):
        assert Usage().figures(dataclasses.replace(here, **other), (1.0, 2.0)) == []


@in_browser
def test_keys_named_as_what_every_object_has_are_keys_like_others(page: Any, url: str, training: Training) -> None:
    make_run(training.run.path.parent, "odd keys", ["norm=new"], constructor=1.5, toString=2.5)
    page.goto(run_url(url, "odd keys"))
    settle(page)
    expect(value(page, "constructor")).to_have_text("1.5")
    page.get_by_label("Filter keys").fill("tostring")
    expect(value(page, "toString")).to_have_text("2.5")
    page.get_by_label("add the card of a value").select_option("toString")
    expect(card(page, "toString").locator(".last")).to_have_text("2.5")
