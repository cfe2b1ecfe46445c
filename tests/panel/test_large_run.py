"""The page of a run with 2,000 keys: what is built when, counted in a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import CHROMIUM, READ, Training, button, expect, field, head_of, open_run, settle, wait_for

from trainctl.config import changelog
from trainctl.panel.widgets.key_groups import FIELDS

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed on this machine")

NAME = "large"
MODELS = "new Set(Object.values(Bokeh.index).flatMap(v => [...v.model.document._all_models.keys()])).size"


@pytest.fixture(scope="module")
def large(training: Training, base: Path) -> Iterator[Training]:
    running = Training.start(training.run.path.parent, NAME, base / "large.json", keys=2000)
    yield running
    running.stop()


@pytest.fixture
def form(page: Any, url: str, large: Training) -> Any:
    open_run(page, url, NAME)
    return page


def texts(page: Any) -> int:
    return int(page.locator(".MuiCard-root input[type=text]").count())


def edits_of(training: Training) -> list[Any]:
    return [edit.values for edit in changelog.loads(training.run.changelog.read_text()).edits]


def test_page_of_a_large_run_is_built_as_that_of_a_small_one(
    page: Any, url: str, training: Training, large: Training
) -> None:
    open_run(page, url, training.run.name)
    small = page.evaluate(MODELS)
    open_run(page, url, NAME)
    expect(head_of(page, "group_39.layers")).to_have_text("group_39.layers 50 keys")
    assert page.evaluate(MODELS) < small + 10 * 40  # for each closed section some, for each of its 50 keys none
    assert field(page, "layer_03.w").count() == 0


def test_section_has_fields_when_it_is_opened_and_an_edit_survives_its_closing(form: Any, large: Training) -> None:
    page = form
    before = texts(page)
    head_of(page, "group_07.layers").click()
    expect(field(page, "layer_03.w")).to_be_visible()
    wait_for(lambda: texts(page) - before == FIELDS // 2, "a text field for every second key, a switch for the others")
    expect(page.locator(".keys > div").filter(has_text="layer_24.w")).to_have_text(re.compile(r"layer_24\.w\s*2\.4$"))
    field(page, "layer_03.w").fill("7.25")
    expect(page.get_by_text("1 pending edit", exact=True)).to_be_visible()
    head_of(page, "group_07.layers").click()
    expect(field(page, "layer_03.w")).to_have_count(0)
    expect(page.get_by_text("1 pending edit", exact=True)).to_be_visible()
    head_of(page, "group_07.layers").click()
    expect(field(page, "layer_03.w")).to_have_value("7.25")
    button(page, "Edit 10 more").click()
    expect(field(page, "layer_24.w")).to_have_value("2.4")
    button(page, "Apply").click()
    expect(page.get_by_role("status")).to_have_text(READ)
    assert edits_of(large)[-1] == {"group_07.layers.layer_03.w": 7.25}


def test_filter_finds_keys_of_sections_that_are_closed(form: Any, large: Training) -> None:
    page = form
    filtered = page.get_by_label("Filter keys")
    filtered.fill("group_31 layer_2 w")
    expect(field(page, "layer_23.w")).to_be_visible()
    expect(field(page, "warmup")).to_have_count(0)
    field(page, "layer_23.w").fill("-1.5")
    expect(page.get_by_text("1 pending edit", exact=True)).to_be_visible()
    filtered.fill("layer w")
    expect(page.get_by_text("1,000 keys found in 40 sections; open one, or add a word.")).to_be_visible()
    expect(head_of(page, "group_39.layers")).to_have_text("group_39.layers 25 keys")
    settle(page)
    assert texts(page) <= FIELDS
    filtered.fill("")
    expect(field(page, "warmup")).to_be_visible()
    expect(field(page, "layer_23.w")).to_have_count(0)
    button(page, "Apply").click()
    expect(page.get_by_role("status")).to_have_text(READ)
    assert edits_of(large)[-1] == {"group_31.layers.layer_23.w": -1.5}
    wait_for(lambda: page.get_by_text("No pending edits").is_visible(), "an end of the edit")
