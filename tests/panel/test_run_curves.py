"""The curves of many runs: in a browser what a card shows and what a person does there; without one what is sent."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import CHROMIUM, Training, box_of, button, expect, settle, shot, wait_for
from made_sweep import make_run, make_sweep

from trainctl.config.changelog import Changelog, Edit, dumps
from trainctl.panel.data.curves import thinned
from trainctl.panel.data.line_groups import OTHER, PALETTE, RAMP, bands, colouring, in_order

in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed on this machine")


@pytest.fixture(scope="module")
def swept(training: Training) -> Path:
    """Thirty runs that are done or failed beside the one that trains; one was edited twice, one has a hole."""
    root = training.run.path.parent
    make_sweep(root, 30)
    edited = make_run(root, "edited", ["norm=new", "optim.lr=0.5"], result=0.5)
    edits = [Edit(30, {"lr": 0.05}), Edit(60, {"lr": 0.001}, note="calmer")]
    edited.changelog.write_text(dumps(Changelog({"lr": 0.1}, edits)))
    holed = make_run(root, "holed", ["norm=new", "optim.lr=0.25"])
    lines = [{"step": at, "loss": "nan" if 40 <= at < 60 else 2.0, "accuracy": 0.1} for at in range(1, 101)]
    holed.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


@pytest.fixture
def cards(page: Any, url: str, swept: Path) -> Any:
    page.goto(url)
    expect(card(page, "accuracy")).to_be_visible()
    settle(page)
    return page


def card(page: Any, metric: str) -> Any:
    return page.get_by_role("article", name=metric, exact=True)


def drawn(page: Any, metric: str, what: str) -> None:
    expect(card(page, metric).get_by_role("img")).to_have_attribute("aria-label", re.compile(what))


def place(page: Any, metric: str, step: float, value: float, last: float) -> tuple[float, float]:
    """Return where a point of a card is on the screen, its scale being told by its label."""
    box = box_of(card(page, metric).locator(".plot"))
    said = card(page, metric).get_by_role("img").get_attribute("aria-label")
    low, high = (float(each.replace(",", "")) for each in re.search(r"from (\S+) to (\S+)$", said).groups())
    x = box["x"] + 50 + (box["width"] - 62) * (step - 1) / (last - 1)
    return x, box["y"] + box["height"] - 20 - (box["height"] - 28) * (value - low) / (high - low)


@in_browser
def test_first_screen_has_a_card_for_each_metric_with_the_lines_of_all_runs(cards: Any, swept: Path) -> None:
    page = cards
    drawn(page, "accuracy", r"^accuracy of 33 runs, steps 1 to ")
    drawn(page, "loss", r"^loss of 33 runs")
    expect(page.get_by_role("group", name="colours")).to_have_text(re.compile("batch.*new|new.*batch"))
    shot(page, "cards")
    inked = """canvas => {
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        const seen = new Set();
        for (let at = 0; at < data.length; at += 4) {
            if (data[at + 3] > 200) seen.add(`${data[at]},${data[at + 1]},${data[at + 2]}`);
        }
        return [...seen]; }"""
    colours = card(page, "accuracy").get_by_role("img").evaluate(inked)
    assert len(colours) > 2
    page.get_by_label("colour by").select_option("optim.lr")
    expect(page).to_have_url(re.compile("by=optim.lr"))
    expect(page.get_by_role("group", name="colours")).to_contain_text("0.001")


@pytest.mark.slow
@in_browser
def test_lines_grow_while_a_run_trains_and_only_what_is_new_is_sent(cards: Any, training: Training) -> None:
    page = cards
    last = "Number(document_label.match(/to ([\\d,]+), from/)[1].replaceAll(',', ''))"
    read = f"element => {{ const document_label = element.getAttribute('aria-label'); return {last}; }}"
    drawn(page, "loss", r"to [\d,]+, from")
    first = card(page, "loss").get_by_role("img").evaluate(read)
    wait_for(lambda: card(page, "loss").get_by_role("img").evaluate(read) > first + 50, "a longer line")


@pytest.mark.slow
@in_browser
def test_pointer_names_a_run_lights_it_in_all_cards_and_a_click_opens_it(cards: Any) -> None:
    page = cards
    page.get_by_label("Filter runs").fill("holed")
    drawn(page, "accuracy", r"^accuracy of 1 run, steps 1 to 100")
    page.mouse.move(*place(page, "accuracy", 80, 0.1, 100))
    tip = card(page, "accuracy").get_by_role("tooltip")
    expect(tip).to_contain_text("holed")
    expect(tip).to_contain_text("accuracy 0.1 · step 8")
    expect(tip).to_contain_text("optim.lr=0.25")
    expect(page.locator(".plot.is-dim")).to_have_count(2)
    page.mouse.move(*place(page, "loss", 50, 2.0, 100))
    expect(card(page, "loss").get_by_role("tooltip")).to_contain_text("nan from step 40 to 59")
    page.mouse.click(*place(page, "loss", 80, 2.0, 100))
    expect(page).to_have_title(re.compile("holed"))


@in_browser
def test_edits_are_marked_and_say_what_was_changed(cards: Any) -> None:
    page = cards
    page.get_by_label("Filter runs").fill("edited")
    drawn(page, "accuracy", r"^accuracy of 1 run, steps 1 to 100")
    page.mouse.move(*place(page, "accuracy", 60, 1 - 1 / 60, 100))
    expect(card(page, "accuracy").get_by_role("tooltip")).to_contain_text("lr 0.05 → 0.001 @60")


@in_browser
def test_drag_zooms_all_cards_and_a_double_click_shows_all_again(cards: Any) -> None:
    page = cards
    page.get_by_label("Filter runs").fill("holed")
    drawn(page, "accuracy", "steps 1 to 100")
    page.mouse.move(*place(page, "accuracy", 20, 0.1, 100))
    page.mouse.down()
    page.mouse.move(*place(page, "accuracy", 40, 0.1, 100), steps=4)
    page.mouse.up()
    for metric in ("accuracy", "loss"):
        drawn(page, metric, r"steps (19|20) to (39|40|41)")
    expect(button(page, "all steps")).to_be_visible()
    box = box_of(card(page, "loss").locator(".plot"))
    page.mouse.dblclick(box["x"] + 100, box["y"] + 12)
    drawn(page, "accuracy", "steps 1 to 100")
    assert "run/" not in page.url


@pytest.mark.slow
@in_browser
def test_smoothing_and_logarithms_survive_a_reload(cards: Any) -> None:
    page = cards
    page.get_by_role("slider", name="smoothing").fill("0.3")
    button(page, "log of loss").click()
    page.get_by_label("log steps").check()
    expect(page).to_have_url(re.compile(r"smooth=0\.3"))
    expect(page).to_have_url(re.compile("log=loss"))
    expect(page).to_have_url(re.compile("logx="))
    page.reload()
    expect(page.get_by_role("slider", name="smoothing")).to_have_value("0.3")
    expect(button(page, "log of loss")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label("log steps")).to_be_checked()


def test_peaks_and_holes_stay_when_a_line_is_thinned() -> None:
    values = np.sin(np.arange(10_000) / 300)
    values[4321], values[7000:7100] = 9.0, math.nan
    x, y = thinned(range(10_000), values.tolist(), 200)
    assert len(x) <= 200
    assert (x[0], x[-1]) == (0, 9999)
    assert (np.diff(x) > 0).all()
    assert y[x == 4321] == [9.0]
    assert {7000, 7099} <= set(x[np.isnan(y)])
    assert np.isfinite(y[(x < 7000) | (x > 7099)]).all()
    same = thinned([1, 2, 3], [1.0, math.inf, 2.0], 200)
    assert [each.tolist() for each in same] == [[1, 2, 3], [1.0, math.inf, 2.0]]
    assert len(thinned(range(5000), [math.nan] * 5000, 100)[0]) <= 100


def test_metric_that_runs_return_comes_first() -> None:
    finals = [({"f1": at / 10}, {"loss": 1 / at, "f1": at / 10, "val/acc": 0.1 * at, "epoch": 3.0}) for at in (1, 2, 3)]
    assert in_order(["epoch", "loss", "val/acc", "f1"], finals) == ["f1", "val/acc", "loss", "epoch"]
    assert in_order(["b", "a"], []) == ["b", "a"]


def test_colours_tell_words_and_numbers() -> None:
    many = colouring("name", [f"n{at}" for at in range(20)])
    assert many.colours[: len(PALETTE)] == list(PALETTE)
    assert many.colours[len(PALETTE) :] == [OTHER] * (20 - len(PALETTE))
    assert many.legend[-1][0] == "others"
    few = colouring("lr", [0.1, 0.001, 0.01])
    assert [text for text, _, _ in few.legend] == ["0.001", "0.01", "0.1"]
    assert len(set(few.colours)) == 3
    assert len(set(colouring("lr", [0.02, 0.05, 0.1, 1e5]).colours)) == 4
    assert len(set(colouring("n", [10**400, 1, None]).colours)) == 3  # no float is as large
    spread = colouring("lr", [10.0**-at for at in range(30)])
    assert [(text, kind) for text, _, kind in spread.legend] == [("1e-29 to 1", "ramp")]
    assert 2 <= len(set(spread.groups)) <= 6


@pytest.mark.parametrize("extreme", [1e30, -1e9, 5.0])
def test_one_extreme_number_leaves_the_others_their_colours(extreme: float) -> None:
    values = [0.1 + at / 100 for at in range(20)]
    coloured = colouring("lr", [*values, extreme])
    assert len(set(coloured.colours[:-1])) == 20
    assert coloured.colours[:-1] == colouring("lr", values).colours
    assert coloured.colours[-1] in (RAMP[0], RAMP[-1])
    assert [text for text, _, _ in coloured.legend] == ["0.1 to 0.29, 1 beyond"]


def test_bands_hold_the_middle_and_the_tenths_of_each_group() -> None:
    lines = [(np.array([0.0, 100.0]), np.array([float(at), float(at)])) for at in range(11)]
    short = (np.array([0.0, 50.0]), np.array([5.0, 5.0]))
    one, other = bands([*lines, short], ["a"] * 11 + ["b"])
    assert (one.group, one.runs) == ("a", 11)
    assert (one.low[0], one.middle[0], one.high[0]) == pytest.approx((1.0, 5.0, 9.0))
    assert np.isnan(other.middle[-1])
    assert other.middle[0] == 5.0
    assert bands([], []) == []


@pytest.fixture
def sent(tmp_path: Path) -> Iterator[Any]:
    """What the cards of a directory are sent, look by look, without a browser."""
    pytest.importorskip("panel")
    from contextlib import ExitStack

    from trainctl.panel.data.run_index import RunIndex
    from trainctl.panel.data.watcher import Watcher
    from trainctl.panel.widgets.run_curves import RunCurves

    class Sent:
        def __init__(self, stack: ExitStack) -> None:
            self.watcher = Watcher(tmp_path)
            self.curves = RunCurves(self.watcher, stack, "")
            self.messages: list[dict[str, Any]] = []
            self.index = RunIndex()
            self.curves.view.send = lambda **parts: self.messages.append(parts)
            self.curves._told({"kind": "ready"})

        def look(self, *in_sight: str) -> dict[str, Any]:
            self.messages.clear()
            self.watcher._listed = float("-inf")
            rows = self.watcher.rows()
            for run in self.watcher._runs.values():
                run.look_at_sketch()
            self.index.follow(rows)
            self.curves.look(self.index, list(rows))
            if in_sight:
                self.curves._told({"kind": "visible", "metrics": list(in_sight)})
            return {name: part for message in self.messages for name, part in message.items()}

    with ExitStack() as stack:
        yield Sent(stack)


def test_what_was_sent_is_not_sent_again(sent: Any, tmp_path: Path) -> None:
    run = make_run(tmp_path, "a", ["norm=x"], state="running")
    make_run(tmp_path, "b", ["norm=y"])
    first = sent.look("loss")
    assert first["metrics"] == ["loss", "accuracy"]
    assert [(run["name"], run["edits"]) for run in first["runs"]] == [
        ("a", [(50, "lr 0.1 → 0.01 @50")]),
        ("b", [(50, "lr 0.1 → 0.01 @50")]),
    ]
    assert [(name, [(len(x), more) for _, x, _, more in each]) for name, each in first["lines"]] == [
        ("loss", [(100, False), (100, False)])
    ]
    with run.metrics.open("a") as file:
        file.write('{"step": 101, "loss": 0.5}\n')
    os.utime(run.path)
    again = sent.look()
    assert [(name, [(list(x), list(y), more) for _, x, y, more in each]) for name, each in again["lines"]] == [
        ("loss", [([101], [0.5], True)])
    ]
    assert not sent.look().get("lines")


def test_a_run_keeps_its_colour_whatever_the_filter(sent: Any, tmp_path: Path) -> None:
    for name, norm in (("a", "x"), ("b", "y"), ("c", "z")):
        make_run(tmp_path, name, [f"norm={norm}"])
    colours = {run["name"]: run["color"] for run in sent.look("loss")["runs"]}
    assert len(set(colours.values())) == 3
    sent.messages.clear()
    sent.curves.look(sent.index, ["b"])
    (found,) = (message for message in sent.messages if "runs" in message)
    assert [(run["name"], run["color"]) for run in found["runs"]] == [("b", colours["b"])]
    assert [text for text, _, _ in found["legend"]] == ["y"]


def test_more_than_a_hundred_runs_are_bands(sent: Any, tmp_path: Path) -> None:
    for at in range(102):
        make_run(tmp_path, f"r{at:03}", [f"norm={'ab'[at % 2]}"])
    first = sent.look("accuracy")
    assert not first.get("lines")
    ((metric, made),) = first["bands"]
    assert (metric, [(band["label"], band["runs"]) for band in made]) == ("accuracy", [("a", 51), ("b", 51)])
    assert "102 runs as bands" in first["note"]
    assert not sent.look().get("bands")


def test_what_a_browser_sends_is_only_data(sent: Any, tmp_path: Path) -> None:
    make_run(tmp_path, "a", ["norm=x"])
    sent.look("loss")
    for odd in ([], "x", [1], ["a", 2], [2, 1], [1, float("nan")], {"a": 1}):
        sent.curves._told({"kind": "range", "range": odd})
        assert sent.curves._range is None
    sent.curves._told({"kind": "range", "range": [10, 20]})
    ((_, ((_, x, _, _),)),) = sent.messages[-1]["lines"]
    assert (x[0], x[-1]) == (9, 21)
    sent.curves._told({"kind": "visible", "metrics": ["../../etc", 5]})
    sent.curves._told({"kind": "by", "by": "no such key"})
