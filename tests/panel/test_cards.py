"""The cards of a run page: curves and values over the steps, drawn in a real Chromium, and what is sent for them."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from browsing import CHROMIUM, NAME, Training, box_of, button, expect, open_run, run_url, settle, shot, value, wait_for
from made_sweep import make_run

from trainctl.panel.data.curves import Curves
from trainctl.panel.data.run_view import RunRow, RunView, read_view
from trainctl.panel.widgets.cards import Cards
from trainctl.panel.widgets.plots import Plots
from trainctl.panel.widgets.summary import Usage
from trainctl.rundir import files
from trainctl.rundir.events import wait_for_answer
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, write_status
from trainctl.rundir.summary import summarize

ENDED = "with_gaps"
EDIT = re.compile(r"step 50: lr 0\.1 → 0\.01 \(.*calmer\)")
ORANGE, RED = (217, 130, 0), (200, 80, 75)
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
    drawn(page, "loss", "^loss of this run, steps 0 to 100, from ")
    settle(page)
    return page


def card(page: Any, name: str) -> Any:
    """The card of a metric, or of a key's values where the name is `value KEY`."""
    return page.get_by_role("article", name=name, exact=True)


def drawn(page: Any, name: str, what: str) -> None:
    """Wait until a card says that it has drawn what is wanted: whose line, which steps, and between which values."""
    expect(card(page, name).get_by_role("img")).to_have_attribute("aria-label", re.compile(what))


def point_at(page: Any, name: str, share: float) -> tuple[float, float]:
    """Where a part of the step axis is on the screen, once the card stands still."""
    plot = card(page, name).locator(".plot")
    plot.hover(trial=True)
    box = box_of(plot)
    return box["x"] + 50 + share * (box["width"] - 62), box["y"] + 60


def said_at(page: Any, name: str, share: float) -> Any:
    page.mouse.move(*point_at(page, name, share))
    return card(page, name).get_by_role("tooltip")


def has_colour(page: Any, name: str, colour: tuple[int, int, int], canvas: int = 1) -> bool:
    """Whether a colour is on one of a card's canvases: axes, lines, what follows the pointer."""
    return bool(
        card(page, name)
        .locator("canvas")
        .nth(canvas)
        .evaluate(
            """(canvas, [r, g, b]) => {
                const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                for (let at = 0; at < data.length; at += 4) {
                    const away = Math.abs(data[at] - r) + Math.abs(data[at + 1] - g) + Math.abs(data[at + 2] - b);
                    if (data[at + 3] > 200 && away < 12) return true;
                }
                return false; }""",
            colour,
        )
    )


@in_browser
def test_edit_is_marked_on_all_cards_and_says_what_changed_under_the_pointer(cards: Any) -> None:
    page = cards
    expect(card(page, "value lr").locator("header span")).to_have_text("0.01")
    for name in ("loss", "value lr"):
        expect(said_at(page, name, 0.5)).to_contain_text(EDIT)
        assert has_colour(page, name, ORANGE)
    expect(said_at(page, "loss", 0.25)).to_have_text("loss 0.04 · step 25")
    pointer = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean)"
    for name in ("loss", "value lr"):
        assert card(page, name).locator("canvas").nth(2).evaluate(pointer), name


@in_browser
def test_gaps_are_marked_and_outliers_are_left_out(cards: Any) -> None:
    page = cards
    page.get_by_label("smoothing").fill("0")
    expect(said_at(page, "loss", 0.32)).to_contain_text("nan, inf from step 31 to 33")
    expect(said_at(page, "loss", 0.35)).to_contain_text("nan at step 35")
    expect(said_at(page, "loss", 0.4)).not_to_contain_text("nan")
    assert has_colour(page, "loss", RED)
    expect(card(page, "loss").locator("header span")).to_have_text("0.01 · 2 outliers beyond")
    page.get_by_label("outliers").check()
    drawn(page, "loss", r"to 10\d{5}$|to 1\.0\d*e\+06$|to \d{6,7}$")
    page.get_by_label("outliers").uncheck()
    drawn(page, "loss", r"to [01]\.\d+$")


@pytest.mark.slow
@in_browser
def test_drag_chooses_steps_on_all_cards_and_double_click_goes_home(cards: Any) -> None:
    page = cards
    page.mouse.move(*point_at(page, "loss", 0.4))
    page.mouse.down()
    page.mouse.move(*point_at(page, "loss", 0.6), steps=4)
    page.mouse.up()
    chosen = "steps (39|40|41) to (59|60|61), "
    for name in ("loss", "value lr"):
        drawn(page, name, chosen)
    expect(page).to_have_url(re.compile("steps="))
    page.reload()
    settle(page)
    drawn(page, "value lr", chosen)
    page.mouse.dblclick(*point_at(page, "value lr", 0.5))
    for name in ("loss", "value lr"):
        drawn(page, name, "steps 0 to 100, ")
    expect(page).not_to_have_url(re.compile("steps="))


@pytest.mark.slow
@in_browser
def test_smoothing_and_log_axes_are_in_the_link(cards: Any) -> None:
    page = cards
    page.get_by_label("smoothing").fill("0.9")
    button(page, "log of value lr").click()
    expect(page).to_have_url(re.compile(r"smooth=0\.9"))
    expect(page).to_have_url(re.compile(r"log=value"))
    page.reload()
    settle(page)
    expect(page.get_by_label("smoothing")).to_have_value("0.9")
    # its values span a decade, so its axis was logarithmic at first
    expect(button(page, "log of value lr")).to_have_attribute("aria-pressed", "false")


@pytest.mark.slow
@in_browser
def test_cards_follow_a_run_and_show_what_is_ahead_of_its_step(page: Any, url: str, training: Training) -> None:
    open_run(page, url, NAME)
    label = card(page, "loss").get_by_role("img")

    def last() -> int:
        found = re.search(r"to ([\d,]+), from", label.get_attribute("aria-label") or "")
        return int(found[1].replace(",", "")) if found else 0

    wait_for(lambda: last() > 5, "points of a metric")
    first = last()
    wait_for(lambda: last() > first, "newer points")
    request = file_request(training.run, {"sched.warmup": "640"}, via="test")
    assert wait_for_answer(training.run, request, 60) is not None
    expect(card(page, "value sched.warmup").locator("header span")).to_have_text("640")
    ahead = training.step + 1000
    file_request(training.run, {"sched.warmup": "650"}, via="test", at=ahead)
    wait_for(lambda: last() == ahead, "the coming step on the axis")
    expect(said_at(page, "value sched.warmup", 1)).to_contain_text(
        f"ahead at step {ahead:,}: sched.warmup = 650 (waiting)"
    )
    drawn(page, "value sched.warmup", r"to 65\d")
    expect(page.get_by_text(re.compile(r"^CPU \d+ %$"))).to_be_visible()
    expect(page.get_by_text(re.compile(r"^memory \d+(\.\d)? [MG]iB$"))).to_be_visible()
    page.get_by_label("add the card of a value").select_option("model.dropout")
    expect(card(page, "value model.dropout").locator("header span")).to_have_text("0.1")
    expect(page).to_have_url(re.compile("values=model.dropout"))
    shot(page, "run-cards")


@in_browser
def test_numbers_and_ticks_of_the_cards(page: Any, url: str) -> None:
    page.goto(url)
    found = page.evaluate(
        f"""async code => {{
            const {{labels, number, ticks}} = await {IMPORT}
            let fewest = 9, most = 0
            for (const wanted of [2, 4, 8]) for (const low of [0.001, 0.93, 3, 980]) for (let at = 1; at < 400; at++)
                for (const [high, isLog] of [[low * (1 + at / 100), false], [low * 10 ** (1 + at / 40), true]]) {{
                    const found = ticks(low, high, wanted, isLog).length
                    fewest = Math.min(fewest, found)
                    most = Math.max(most, found - wanted)
                }}
            return {{
                fewest, most,
                labels: [
                    labels([0.94, 0.96]), labels([0.99992, 0.99994]), labels([1, 2], () => "1k", at => `${{at}}!`),
                ],
                numbers: [0.972222, 123456.7, 3, 1e-5, 1.5e12, NaN, -Infinity, 0.0001].map(number),
                ticks: [
                    ticks(0, 1, 4, false), ticks(0.001, 1, 4, true), ticks(980, 1020, 4, false),
                    ticks(0.909, 0.991, 4, false),
                ],
            }}
        }}""",
        Cards._esm,
    )
    assert found["numbers"] == ["0.9722", "123457", "3", "1e-05", "1.5e+12", "nan", "-inf", "0.0001"]
    assert found["ticks"] == [
        [0, 0.5, 1],
        [0.001, 0.01, 0.1, 1],
        [980, 990, 1000, 1010, 1020],
        [0.92, 0.94, 0.96, 0.98],
    ]
    assert found["fewest"] >= 2  # one place alone is no scale
    assert found["most"] <= 5
    assert found["labels"] == [["0.94", "0.96"], ["0.99992", "0.99994"], ["1!", "2!"]]


def plots_of(run: RunDir, curves: Curves) -> tuple[Plots, list[dict[str, Any]], Callable[[object], None]]:
    """Return the cards of a run, what they send, and how a browser answers."""
    plots, sent = Plots(view_of(run), curves), list[dict[str, Any]]()
    plots.view.send = lambda **parts: sent.append(parts)

    def tell(data: object) -> None:
        for callback in plots.view._msg__callbacks:
            callback(SimpleNamespace(data=data))

    return plots, sent, tell


def test_only_new_points_are_sent_and_nothing_while_nothing_is_new(run: RunDir) -> None:
    run.changelog.write_text("0:\n  lr: 0.1\n#.\n")
    curves = Curves(run)
    log(run, "loss", 1.0, math.nan)
    curves.look()
    plots, sent, tell = plots_of(run, curves)
    plots.follow(view_of(run), curves)
    assert sent == []  # no browser has drawn the page yet
    tell({"kind": "ready"})
    assert sent.pop()["metrics"] == ["loss"]
    plots.follow(view_of(run), curves)
    assert sent == []
    log(run, "loss", 0.5)
    curves.look()
    plots.follow(view_of(run), curves)
    assert sent.pop() == {"lines": [("loss", [(0, [3], [0.5], True)])], "now": 3}
    for odd in (None, [], {"kind": 3}, {"kind": "add", "key": 3}, {"kind": "add", "key": "none"}, {"kind": "settings"}):
        tell(odd)
    assert not any("values" in parts for parts in sent)
    sent.clear()
    tell({"kind": "ready"})
    ((name, ((_, steps, _, is_more),)),) = sent.pop()["lines"]
    assert (name, steps, is_more) == ("loss", [1, 2, 3], False)


def test_page_without_metrics_says_what_will_appear(run: RunDir) -> None:
    run.changelog.write_text("0:\n  steps: 3\n  lr: 0.1\n#.\n")
    files.write_yaml(run.run, {"keys": {"steps": {"type": "int"}, "lr": {"type": "float"}}})
    _, sent, tell = plots_of(run, Curves(run))
    tell({"kind": "ready"})
    assert (sent[0]["metrics"], sent[0]["lines"]) == ([], [])
    assert "live.log(" in sent[0]["empty"]
    assert [key for key, _ in sent[0]["values"]] == ["lr"]  # a learning rate, while nothing was edited
    assert sent[0]["offer"] == ["steps"]
    write_status(run, Status.running_here(attempt=1, slot=None).end("done", exit_code=0))
    _, sent, tell = plots_of(run, Curves(run))
    tell({"kind": "ready"})
    assert sent[0]["values"] == []  # that no edit will change any more
    assert sent[0]["offer"] == ["steps", "lr"]


def test_usage_of_a_run_is_that_of_its_processes() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        used = Usage()
        assert re.fullmatch(r"memory \d+(\.\d)? MiB", used._look(busy.pid, 1.0)[0])
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


@pytest.mark.slow
@in_browser
def test_keys_named_as_what_every_object_has_are_keys_like_others(page: Any, url: str, training: Training) -> None:
    make_run(training.run.path.parent, "odd keys", ["norm=new"], constructor=1.5, toString=2.5)
    page.goto(run_url(url, "odd keys"))
    settle(page)
    expect(value(page, "constructor")).to_have_text("1.5")
    page.get_by_label("Filter keys").fill("tostring")
    expect(value(page, "toString")).to_have_text("2.5")
    page.get_by_label("add the card of a value").select_option("toString")
    expect(card(page, "value toString").locator("header span")).to_have_text("2.5")
