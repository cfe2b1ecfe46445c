"""The tree of a run's keys in a real Chromium: dense, and as quick for 2,000 keys as for 20."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from browsing import (
    CHROMIUM,
    Training,
    button,
    edit,
    expect,
    open_run,
    row_of_key,
    run_url,
    settle,
    show_all_keys,
    value,
)

from trainctl.config import changelog
from trainctl.panel.server import handle as process
from trainctl.panel.widgets.form import KeyTree

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed on this machine")

NAME = "large"
MODELS = "new Set(Object.values(Bokeh.index).flatMap(v => [...v.model.document._all_models.keys()])).size"
APPLIED = re.compile(r"applied at step [\d,]+")
IMPORT = "import(URL.createObjectURL(new Blob([code], {type: 'text/javascript'})))"


@pytest.fixture(scope="module")
def large(training: Training, base: Path) -> Iterator[Training]:
    running = Training.start(training.run.path.parent, NAME, base / "large.json", keys=2000)
    yield running
    running.stop()


@pytest.fixture
def form(page: Any, url: str, large: Training) -> Any:
    if page.url != run_url(url, NAME):
        open_run(page, url, NAME)
    if button(page, "Discard").is_enabled():
        button(page, "Discard").click()
    page.get_by_label("Filter keys").fill("")
    return page


def rows(page: Any) -> int:
    return int(page.locator("[role=treegrid] [data-key]").count())


def edits_of(training: Training) -> list[Any]:
    return [edit.values for edit in changelog.loads(training.run.changelog.read_text()).edits]


@pytest.mark.slow
def test_page_of_2000_keys_costs_what_a_small_one_does(
    page: Any, url: str, training: Training, large: Training
) -> None:
    record = process.find(training.run.path.parent)
    assert record is not None
    server = psutil.Process(record.pid)

    def cost_of(name: str) -> tuple[float, float, int]:
        times, memory = server.cpu_times(), server.memory_info().rss
        open_run(page, url, name)
        spent = server.cpu_times().user - times.user + server.cpu_times().system - times.system
        return spent, (server.memory_info().rss - memory) / 2**20, page.evaluate(MODELS)

    cost_of(training.run.name)  # the first page loads code
    small, _, models = min(cost_of(training.run.name) for _ in range(2))
    many, grown, more = min(cost_of(NAME) for _ in range(2))
    assert more == models  # widgets do not become more with the keys
    assert many < 3 * small  # 2,000 keys are also read, and sent
    assert grown < 20
    assert rows(page) < 70  # those in sight, and some
    assert page.locator("[role=treegrid]").locator("input, select, textarea").count() == 0  # a widget only for an edit


@pytest.mark.slow
def test_row_out_of_sight_is_drawn_when_it_comes_into_sight_and_keeps_its_edit(form: Any, large: Training) -> None:
    page = form
    edit(page, "group_00.layers.layer_01.w", "7.25")
    expect(page.get_by_text("1 pending edit", exact=True)).to_be_visible()
    button(page, "all 2,019 keys").focus()
    page.locator("[role=treegrid]").evaluate("tree => { tree.scrollTop = tree.scrollHeight }")
    expect(value(page, "group_39.layers.layer_24.w")).to_have_text("2.4")
    expect(row_of_key(page, "group_00.layers.layer_01.w")).to_have_count(0)
    assert rows(page) < 70
    edit(page, "group_39.layers.layer_24.w", "2.5")
    page.locator("[role=treegrid]").evaluate("tree => { tree.scrollTop = 0 }")
    expect(row_of_key(page, "group_00.layers.layer_01.w").locator(".field")).to_have_value("7.25")
    expect(page.get_by_text("2 pending edits")).to_be_visible()
    button(page, "Apply").click()
    expect(page.locator("[role=status]")).to_have_text(APPLIED)
    assert edits_of(large)[-1] == {"group_00.layers.layer_01.w": 7.25, "group_39.layers.layer_24.w": 2.5}
    expect(value(page, "group_00.layers.layer_01.w")).to_have_text("7.25")


def test_filter_finds_keys_and_values_without_the_server(form: Any) -> None:
    page = form
    filtered = page.get_by_label("Filter keys")
    filtered.fill("group_31 layer_2 w")
    expect(page.get_by_text("5 of 2,019 keys")).to_be_visible()
    expect(value(page, "group_31.layers.layer_23.w")).to_have_text("2.3")
    filtered.fill("group_1 1.7")
    expect(page.get_by_text("10 of 2,019 keys")).to_be_visible()
    page.context.set_offline(True)
    try:
        filtered.fill("group_31 layer_24 true")
        expect(page.get_by_text("1 of 2,019 keys")).to_be_visible()
    finally:
        page.context.set_offline(False)
    filtered.press("Escape")
    expect(value(page, "sched.warmup")).to_be_visible()
    page.wrong[:] = [text for text in page.wrong if "ERR_INTERNET_DISCONNECTED" not in text]  # its looks meanwhile


@pytest.mark.slow
def test_locked_keys_are_one_click_away_and_groups_fold(form: Any) -> None:
    page = form
    expect(row_of_key(page, "model.width")).to_have_count(0)
    expect(page.get_by_text(re.compile(r"^\d+ locked$"))).to_be_visible()
    show_all_keys(page)
    expect(row_of_key(page, "model.width").get_by_role("img")).to_have_count(1)
    group = page.get_by_role("row", name="optim", exact=True)
    group.click()
    expect(group).to_have_attribute("aria-expanded", "false")
    expect(row_of_key(page, "optim.lr")).to_have_count(0)
    page.reload()
    settle(page)
    expect(row_of_key(page, "model.width")).to_be_visible()  # what was chosen survives a reload
    expect(row_of_key(page, "optim.lr")).to_have_count(0)
    group.click()
    expect(value(page, "optim.lr")).to_be_visible()
    button(page, "all 2,019 keys").click()
    expect(row_of_key(page, "model.width")).to_have_count(0)


@pytest.mark.slow
def test_what_was_typed_survives_a_reload(form: Any) -> None:
    page = form
    edit(page, "sched.warmup", "4321")
    expect(page.get_by_text("1 pending edit", exact=True)).to_be_visible()
    page.reload()
    settle(page)
    expect(edit(page, "sched.warmup")).to_have_value("4321")
    expect(page.get_by_text("1 pending edit", exact=True)).to_be_visible()
    button(page, "Discard").click()
    expect(value(page, "sched.warmup")).to_be_visible()
    page.reload()
    settle(page)
    expect(page.get_by_text("No pending edits")).to_be_visible()


@pytest.mark.slow
def test_widget_is_there_only_while_its_key_is_edited(form: Any) -> None:
    page = form
    widget = edit(page, "sched.warmup")
    expect(widget).to_be_focused()
    before = widget.input_value()
    page.get_by_label("note").focus()
    expect(value(page, "sched.warmup")).to_have_text(before)
    edit(page, "optim.lr", "5e-4")  # another spelling of what the run has is not an edit
    expect(edit(page, "optim.lr")).to_have_value("5e-4")
    page.get_by_label("note").focus()
    expect(value(page, "optim.lr")).to_have_text("0.0005")
    edit(page, "optim.lr", "1").press("Escape")
    expect(value(page, "optim.lr")).to_have_text("0.0005")
    expect(page.get_by_text("No pending edits")).to_be_visible()


def test_buttons_and_slider_give_texts_that_are_within_the_bounds(form: Any) -> None:
    found = form.evaluate(
        f"""async code => {{
            const {{nudged, position, textAt}} = await {IMPORT}
            const log = {{type: "float", min: 1e-6, max: 1, log: true}}, whole = {{type: "int", min: 1.5, max: 9.2}}
            return [
                nudged("3e-4", {{type: "float"}}, true), nudged("8", {{type: "int", step: 4}}, false),
                nudged("9007199254740993", {{type: "int"}}, true), nudged("x", {{type: "int"}}, true),
                nudged("nan", {{type: "float"}}, true), nudged("", {{type: "float"}}, true),
                ...[0, 100, 200].map(place => textAt(place, log)), position("0.001", log), position("x", log),
                textAt(0, whole), textAt(200, whole), textAt(200, {{type: "float", min: 0, max: 3.3333}}),
            ]
        }}""",
        KeyTree._esm,
    )
    assert found == [
        "0.0006", "4", "9007199254740994", None, None, None, "0.000001", "0.001", "1", 100, 0, "2", "9", "3.33",
    ]  # fmt: skip
