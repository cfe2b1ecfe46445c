"""The table of runs: found by words and conditions, in order, in groups; only what is in sight is sent."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from browsing import CHROMIUM, NAME, Training, box_of, expect, settle, shot, wait_for
from made_sweep import make_run, make_sweep

from trainctl.cli.runs import choose
from trainctl.config.changelog import Changelog, Edit, dumps
from trainctl.errors import SettingError
from trainctl.panel.data.run_index import RunIndex, parsed
from trainctl.panel.data.run_view import RunRow
from trainctl.panel.data.watcher import Watcher
from trainctl.panel.widgets import run_table
from trainctl.panel.widgets.run_table import RunGrid, RunTable, Shown, cell
from trainctl.panel.widgets.summary import failures, slots
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir

in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed on this machine")
BAD = "<img src=x onerror=window.pwned=1>"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def index_of(root: Path) -> RunIndex:
    index = RunIndex()
    index.follow(Watcher(root).rows())
    return index


def edit(run: RunDir, *edits: Edit, **base: Any) -> None:
    run.changelog.write_text(dumps(Changelog(base, list(edits))))


class Sent:
    """A table without a browser: what it is sent, look by look."""

    def __init__(self, root: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch, shown: Shown) -> None:
        self.messages: list[dict[str, Any]] = []
        monkeypatch.setattr(run_table, "tell", lambda _view, text: self.messages.append(json.loads(text)))
        self.watcher = Watcher(root)
        self.chosen: list[list[str]] = []
        self.table = RunTable(self.watcher, stack, shown, lambda _: None, lambda: self.chosen.append(self.table.chosen))
        self.rows: dict[int, Any] = {}
        self.tell("ready")
        self.look()

    def tell(self, kind: str, **more: Any) -> dict[str, Any]:
        self.messages.clear()
        self.table._told(SimpleNamespace(data={"kind": kind, **more}))
        return self.taken()

    def look(self) -> dict[str, Any]:
        self.messages.clear()
        self.watcher._listed = self.watcher._scanned = float("-inf")
        self.table.look(self.watcher.rows())
        return self.taken()

    def taken(self) -> dict[str, Any]:
        for message in self.messages:
            self.rows = {} if message["again"] else self.rows
            self.rows |= dict(message["rows"])
        return {name: part for message in self.messages for name, part in message.items()}

    def column(self, name: str) -> list[Any]:
        at = [one["name"] for one in self.table._columns()].index(name)
        return [self.rows[row]["cells"][at] for row in sorted(self.rows)]


@pytest.fixture
def sent(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with ExitStack() as stack:
        yield lambda **shown: Sent(root, stack, monkeypatch, Shown(**shown))


def test_filter_takes_words_and_conditions_of_values(root: Path) -> None:
    make_sweep(root, 30)
    run = make_run(root, "edited", ["norm=new", "optim.lr=0.1", "model.width=64"])
    edit(run, Edit(5, {"optim.lr": 3.0}), optim={"lr": 0.1})
    index = index_of(root)

    def number(text: str) -> int:
        return len(index.found(text))

    assert number("") == 31
    assert number("optim.lr > 0.05") == 11
    assert number("optim.lr>1") == 1  # as it is at the end
    assert number("norm=new optim.lr<=0.01 state=done") == 10
    assert number("width>=64") == 1  # of the only key that ends so
    assert number("state=failed") == 3
    assert number("state!=failed norm!=new") == 12
    assert number("batch seed_0") == 3
    assert number("result>0.905") == 12
    assert number("name=edited") == 1
    for wrong, reason in (("optim.lr>x", "compares numbers"), ("nix=3", "none of 31 runs has 'nix'; they have state")):
        with pytest.raises(SettingError, match=reason):
            index.found(wrong)
    assert parsed('"two words" a="b c"')[0] == ['"two words"']


def test_runs_without_an_override_or_edit_show_the_value_of_their_config(
    root: Path, sent: Callable[..., Sent], monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(make_run(root, "swept", ["lr=0.5", "layers=[1,2]", "flag=true"]), lr=0.5, layers=[1, 2], flag=True, wd=0.0)
    edit(make_run(root, "plain", []), lr=0.1, layers=[1, 2], flag=False, wd=0.0, note=None)
    edit(
        make_run(root, "edited", ["note=x"]), Edit(5, {"wd": 0.25}), lr=0.1, layers=[1, 2], flag=True, wd=0.0, note="x"
    )
    for name in ("queued", "bare"):  # no config is known of them
        make_run(root, name, ["lr=0.2"]).changelog.unlink()
    files.write_yaml(RunDir.at(root / "queued").status, {"state": "queued"})
    table = sent()
    index = table.table.index
    wait_for(lambda: table.look() and index.filled, "the values of the configs")
    keys = ("lr", "layers", "flag", "wd", "note")
    shown = {entry.values["run"]: {key: entry.values.get(key) for key in keys} for entry in index.entries}
    none = dict.fromkeys(keys)
    assert shown == {
        "swept": {"lr": 0.5, "layers": "[1, 2]", "flag": "true", "wd": 0.0, "note": None},
        "plain": {"lr": 0.1, "layers": "[1, 2]", "flag": "false", "wd": 0.0, "note": "null"},
        "edited": {"lr": 0.1, "layers": "[1, 2]", "flag": "true", "wd": 0.25, "note": "x"},
        "queued": none | {"lr": 0.2},
        "bare": none | {"lr": 0.2},
    }
    assert {value: len(names) for value, names in index.groups(shown, "layers").items()} == {"[1, 2]": 3, None: 2}
    assert sorted(filter(None, table.column("flag"))) == ["false", "true", "true"]
    examined: list[int] = []
    monkeypatch.setattr(index, "_examined", lambda: examined.append(1))  # what is known is not asked for again
    files.append_lines(RunDir.at(root / "plain").metrics, [{"step": 200, "loss": 0.5}])
    table.look()
    assert (index["plain"].values["lr"], examined) == (0.1, [])


SAME_EVERYWHERE = (
    *("optim.lr>0.05", "lr>0.4", "norm=new state=done", "norm!=new", "state=failed", "result>=0.901", "loss<0.1"),
    *("width>=64", "width<64", "note=plain", "edits>0", "edits=1", "slot=2", "step>=100", "reason!=x", "took>=0"),
    *("took_s>=0", "name=edited", "accuracy>0.5 seed=1", "nothing=3", "depth=null", "optim.lr>x"),
    *("gain=2", "gain (metric)>0.5", "norm=new gain (metric) < 0.5", "loss (metric)<0.1", "step (metric)=3"),
)


def test_page_and_command_line_find_the_same_runs_by_the_same_conditions(root: Path) -> None:
    for at in range(12):
        norm, rate, state = ("new", "batch")[at % 2], (0.1, 0.01)[at % 3 > 0], ("done", "failed")[at % 5 == 4]
        run = make_run(
            root,
            f"r{at}",
            [f"norm={norm}", f"optim.lr={rate}", f"gain={at % 3}"],
            state=state,
            result=0.9 + at / 1000,
            slot=str(at % 4),
        )
        edit(run, norm=norm, optim={"lr": rate}, seed=at // 6, note="plain", gain=at % 3)
        files.append_lines(run.metrics, [{"step": 101, "gain": at / 12}])
    edited = make_run(root, "edited", ["norm=new", "optim.lr=0.1"])
    edit(edited, Edit(5, {"optim.lr": 3.0}), norm="new", optim={"lr": 0.1}, model={"width": 64})
    edit(make_run(root, "plain", []), norm="new", optim={"lr": 0.5}, model={"width": 32}, note="plain")
    watcher = Watcher(root)
    rows = watcher.rows()
    wait_for(lambda: watcher.examined() is not None, "all configs")
    index = RunIndex(watcher.examined)
    index.follow(rows)
    summaries = [row.summary for row in rows.values()]

    def told(find: Callable[[], Iterable[str]]) -> list[str] | str:
        try:
            return sorted(find())
        except SettingError as error:
            return str(error).partition(";")[0]

    def on_both(text: str) -> tuple[object, object]:
        listed = told(lambda: [one.run.name for one in choose(summaries, root, None, [text], None)])
        return told(lambda: index.found(text)), listed

    found = {text: on_both(text) for text in SAME_EVERYWHERE}
    assert {text: pair for text, pair in found.items() if pair[0] != pair[1]} == {}
    assert found["width<64"][0] == ["plain"]
    assert found["lr>0.4"][0] == ["edited", "plain"]
    assert found["gain (metric)>0.5"][0] == sorted(f"r{at}" for at in range(7, 12))
    assert not index.is_waiting


def test_what_only_configs_tell_is_read_when_it_is_asked_for(
    root: Path, sent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_read, read = threading.Event(), Watcher._examine
    monkeypatch.setattr(Watcher, "_examine", lambda watcher: may_read.wait(60) and read(watcher))
    make_sweep(root, 6)
    table = sent()
    assert "are being read" in table.tell("filter", text="note=plain optim.lr>0.05")["wrong"]
    may_read.set()
    wait_for(lambda: table.watcher.examined() is not None, "all configs")
    told = table.look()
    assert (told["wrong"], told["found"]) == ("", 2)


def test_order_is_running_then_newest_and_numbers_are_sorted_as_numbers(root: Path, sent: Any) -> None:
    for name, rate in (("a", "0.1"), ("b", "2"), ("c", "1e-3"), ("d", "10")):
        run = make_run(root, name, [f"rate={rate}"])
        status = files.read_mapping(run.status)
        files.write_yaml(run.status, status | {"started": f"2026-01-0{ord(name) - 96}T00:00:00+00:00"})
    make_run(root, "e", [])
    table = sent()
    assert table.table.found[1:] == ["d", "c", "b", "a"]
    rows, index = dict(table.watcher.rows()), RunIndex()
    rows["a"] = dataclasses.replace(rows["a"], summary=dataclasses.replace(rows["a"].summary, state="paused"))
    index.follow(rows)
    assert index.in_order(rows, "", is_down=False) == ["a", "e", "d", "c", "b"]  # it lives
    table.tell("sort", column="rate")
    assert table.table.found == ["c", "a", "b", "d", "e"]
    assert table.tell("sort", column="rate")["sort"] == ["rate", True]
    assert table.table.found == ["d", "b", "a", "c", "e"]
    assert table.tell("sort", column="rate")["sort"] == ["", False]
    table.tell("sort", column="no such column")


def test_cells_have_four_digits_and_all_of_them_on_hover(root: Path) -> None:
    run = make_run(root, "a", ["lr=0.123456789"], result=0.98765432101)
    edit(run, Edit(1500, {"lr": 0.001}), lr=0.1, other=1)
    make_run(root, "b", [])
    index = index_of(root)
    assert cell(index["a"], "result") == ["0.9877", "0.98765432101"]
    assert cell(index["a"], "lr") == ["0.1 → 0.001 @1500", "lr 0.1 → 0.001 @1500", True]
    assert cell(index["a"], "edits") == ["1", "lr 0.1 → 0.001 @1500", True]
    assert cell(index["b"], "result") == ""
    assert cell(index["a"], "step") == "100"
    assert index.columns == [
        "state", "run", "started", "lr", "result", "loss", "accuracy", "step", "total", "steps/s", "left", "took",
        "last sign", "slot", "edits", "reason",
    ]  # fmt: skip


def test_metric_that_is_named_as_another_column_has_its_own(root: Path, sent: Any) -> None:
    for at in range(3):
        run = make_run(root, f"r{at}", [f"gain={at}", "same=5"])
        edit(run, gain=at, same=5)
        files.append_lines(run.metrics, [{"step": 101, "gain": at / 4, "same": 0.5, "total": 9.0}])
    table = sent(sort="gain (metric)", is_down=True)
    assert [table.column(name) for name in ("gain", "gain (metric)", "same", "total", "total (metric)")] == [
        ["2", "1", "0"], ["0.5", "0.25", ["0", "0.0"]], ["0.5"] * 3, ["100"] * 3, [["9", "9.0"]] * 3,
    ]  # fmt: skip
    assert table.tell("filter", text="gain>0 gain (metric)<0.4")["found"] == 1
    assert "same (metric)" not in table.table.index.columns
    assert table.tell("filter", text="same=0.5 same (metric)>0")["found"] == 3
    edit(make_run(root, "late", ["gain=7", "same=6"]), gain=7, same=6)
    table.look()
    assert table.table.index.columns[3:5] == ["gain", "same"]
    assert {"gain (metric)", "same (metric)"} < set(table.table.index.columns)


def test_only_rows_in_sight_and_then_only_what_changed_is_sent(root: Path, sent: Any) -> None:
    make_sweep(root, 40)
    table = sent()
    first = table.tell("window", first=0, last=10)
    assert (first.get("total"), len(table.rows)) == (None, 40)  # a short table is sent at once
    name = table.rows[7]["name"]
    files.write_yaml(RunDir.at(root / name).progress, {"step": 77, "total": 100})
    assert [(at, row["name"]) for at, row in table.look()["rows"]] == [(7, name)]
    assert table.look() == {}
    made = sent()
    made.table._window = (0, 5)
    made.tell("ready")
    assert len(made.messages[-1]["rows"]) == 5
    assert [at for at, _ in made.tell("window", first=30, last=35)["rows"]] == [30, 31, 32, 33, 34]


def test_groups_have_mean_and_deviation_of_what_is_done(root: Path, sent: Any) -> None:
    make_sweep(root, 18)
    table = sent(group="norm")
    assert [row["group"] for row in table.rows.values()] == [True, True]
    assert table.column("norm") == ["batch", "new"]
    assert table.column("run") == ["9 runs", "9 runs"]
    assert [one[0] for one in table.column("result")] == ["0.91100 ± 0.00093", "0.90100 ± 0.00087"]
    table.tell("fold", at=1)
    assert len(table.rows) == 11
    assert table.rows[2]["name"].startswith("Norm_new")
    table.tell("fold", at=2)  # a run is not a group
    assert table.tell("group", column="run")["group"] == ""


def test_runs_are_chosen_one_by_one_by_ranges_and_all_and_stay_so(root: Path, sent: Any) -> None:
    make_sweep(root, 12)
    table = sent()
    names = table.table.found
    table.tell("choose", at=2, **{"is": True})
    assert table.chosen[-1] == [names[2]]
    table.tell("choose", at=6, shift=True, **{"is": True})
    assert table.chosen[-1] == names[2:7]
    table.tell("choose", at=4, **{"is": False})
    assert table.chosen[-1] == [*names[2:4], *names[5:7]]
    table.tell("filter", text="no run is called so")
    make_run(root, "A_first", ["norm=x"])
    table.look()
    assert table.table.chosen == [*names[2:4], *names[5:7]]
    table.tell("filter", text="state=failed")
    table.tell("all", **{"is": True})
    assert len(table.chosen[-1]) == 1
    for odd in ({"at": -1}, {"at": 10**9}, {"at": "x"}, {}):
        table.tell("choose", **odd)
        table.tell("fold", **odd)
    table.table._told(SimpleNamespace(data="no mapping"))


def test_wrong_condition_is_said_and_what_was_found_stays(root: Path, sent: Any) -> None:
    make_sweep(root, 12)
    table = sent(filter="norm=new")
    assert (table.messages or [{}])[-1].get("found", 6) == len(table.table.found) == 6
    assert "compares numbers" in table.tell("filter", text="lr>x")["wrong"]
    assert len(table.table.found) == 6
    assert table.tell("filter", text="lr>0")["wrong"] == ""
    assert len(sent(filter="lr>x").table.found) == 12  # from a link


def test_slots_and_failures_are_told(root: Path) -> None:
    make_sweep(root, 10)
    make_run(root, BAD.replace("/", ""), [f"key={BAD}"], slot=BAD, state="failed")
    rows = dict(Watcher(root).rows())
    rows["waits"] = RunRow(dataclasses.replace(next(iter(rows.values())).summary, state="queued", slot=None), None)
    assert slots(rows).count("idle</span>") == 5
    assert "2 failed or interrupted" in failures(rows)
    assert "the loss is nan" in failures(rows)
    assert "?tab=log" in failures(rows)
    assert "<img" not in slots(rows) + failures(rows)


@pytest.fixture(scope="module")
def swept(training: Training) -> Path:
    root = training.run.path.parent
    make_sweep(root, 30)
    edit(make_run(root, "edited", ["norm=new", "optim.lr=0.1"]), Edit(5, {"optim.lr": 3.0}), optim={"lr": 0.1})
    make_run(root, "hostile", [f"norm={BAD}"], slot=BAD, state="failed")
    return root


@pytest.fixture
def table(page: Any, url: str, swept: Path) -> Any:
    page.goto(url)
    expect(page.get_by_role("link", name=NAME)).to_be_visible()
    settle(page)
    return page


def row_of(page: Any, name: str) -> Any:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


def cells(page: Any, column: str) -> Any:
    return page.locator(f'.row [data-column="{column}"]')


@pytest.mark.slow
@in_browser
def test_table_counts_sorts_filters_and_gathers(table: Any) -> None:
    page = table
    status = page.get_by_role("region", name="runs").get_by_role("status")
    expect(status).to_have_text("33 runs")
    step = row_of(page, NAME).locator('[data-column="step"]')
    first = step.inner_text()
    expect(step).not_to_have_text(first)  # the row follows the run
    expect(cells(page, "run").first).to_have_text(NAME)  # it runs
    page.get_by_role("columnheader", name="result").click()
    expect(cells(page, "result").first).to_have_text("0.9")
    page.get_by_role("columnheader", name="result").click()
    expect(cells(page, "result").first).to_have_text("0.912")
    expect(page).to_have_url(re.compile("sort=-result"))
    page.keyboard.press("/")
    page.keyboard.type("optim.lr>0.05 norm=new seed=0")
    expect(status).to_have_text("1 of 33")
    expect(page.get_by_role("article", name="loss").get_by_role("img")).to_have_attribute(
        "aria-label", re.compile("1 run,")
    )
    page.get_by_label("Filter runs").fill("lr>")
    expect(page.get_by_role("alert").filter(has_text="compares numbers")).to_be_visible()
    page.get_by_label("Filter runs").fill("")
    page.get_by_role("button", name="failed 4").click()
    expect(status).to_have_text("4 of 33")
    page.get_by_role("button", name="failed 4").click()
    page.get_by_label("group by").select_option("norm")
    expect(page.locator(".row.group")).to_have_count(4)
    page.locator(".row.group").filter(has_text="batch").click()
    expect(page.locator(".row:not(.group)")).to_have_count(15)
    shot(page, "table-grouped")
    page.reload()
    expect(page.locator(".row.group")).to_have_count(4)
    page.get_by_label("group by").select_option("")
    expect(page.locator(".row.group")).to_have_count(0)
    expect(page).not_to_have_url(re.compile("group="))
    page.get_by_role("columnheader", name="result").click()


@in_browser
def test_edited_values_stand_in_the_cells_of_their_keys(table: Any) -> None:
    row = row_of(table, "edited")
    expect(row.locator('[data-column="optim.lr"]')).to_have_text("0.1 → 3 @5")
    assert table.evaluate("window.pwned") is None
    assert table.locator("img[src=x]").count() == 0
    expect(row_of(table, "hostile").locator('[data-column="norm"]')).to_have_text(BAD)


# a table of its own, which is sent three rows, and then other columns with but one row of theirs
ANEW = """async code => {
    const {render} = await import(URL.createObjectURL(new Blob([code], {type: "text/javascript"})))
    let take
    const on = (name, heard) => { if (name === "msg:custom") take = heard }
    const root = render({model: {colours: "", send_msg: () => {}, on}})
    document.body.append(root)
    const cells = () => [...root.querySelectorAll(".row")].map(row => row.innerText.trim())
    const send = (columns, ...rows) => take(JSON.stringify({
        columns: columns.map(name => ({name, kind: "text"})), total: 3, found: 3, known: 3, again: true,
        rows: rows.map((cells, at) => [at, {name: `${at}`, cells}]) }))
    send(["lr"], ["1"], ["2"], ["3"])
    const first = cells()
    send(["norm", "lr"], ["new", "4"])
    const found = [first, cells()]
    root.remove()
    return found
}"""


@in_browser
def test_rows_that_were_sent_for_other_columns_are_drawn_no_more(table: Any) -> None:
    code = Path(RunGrid._esm).read_text()
    assert table.evaluate(ANEW, code) == [["1", "2", "3"], ["new\n4"]]


@in_browser
def test_table_that_is_wider_than_its_window_says_so_until_its_end_is_in_sight(table: Any) -> None:
    page = table
    onwards, scroll = page.get_by_title("more columns to the right"), page.locator(".frame .scroll")
    try:
        page.set_viewport_size({"width": 700, "height": 900})
        onwards.click()
        wait_for(lambda: scroll.evaluate("one => one.scrollLeft") > 0, "columns that were out of sight")
        scroll.evaluate("one => one.scrollTo({left: 1e6, behavior: 'instant'})")
        expect(onwards).to_be_hidden()
        scroll.evaluate("one => one.scrollTo({left: 0, behavior: 'instant'})")
        expect(onwards).to_be_visible()
    finally:
        page.set_viewport_size({"width": 1400, "height": 900})


@pytest.mark.slow
@in_browser
def test_shift_chooses_a_range_which_is_marked_in_the_link(table: Any) -> None:
    page = table
    page.get_by_label("Filter runs").fill("norm=batch state=done")
    boxes = page.locator('.row input[type="checkbox"]')
    expect(boxes).to_have_count(12)
    boxes.nth(1).click()
    boxes.nth(4).click(modifiers=["Shift"])
    expect(page.get_by_text("4 chosen")).to_be_visible()
    expect(page.locator(".row.is-chosen")).to_have_count(4)
    page.reload()
    expect(page.get_by_text("4 chosen")).to_be_visible()
    expect(page.get_by_label("Filter runs")).to_have_value("norm=batch state=done")
    expect(page.locator(".row.is-chosen")).to_have_count(4)
    page.locator('.head input[type="checkbox"]').check()
    expect(page.get_by_text("12 chosen")).to_be_visible()
    page.locator('.head input[type="checkbox"]').uncheck()
    expect(page.get_by_text("12 chosen")).to_be_hidden()


@pytest.mark.slow
@in_browser
def test_columns_are_moved_widened_hidden_and_remembered(table: Any) -> None:
    page = table

    def names() -> list[str]:
        return [
            name for name in page.locator(".head .cell").evaluate_all("all => all.map(one => one.dataset.name)") if name
        ]

    result, run = (page.get_by_role("columnheader", name=name, exact=True) for name in ("result", "run"))

    def is_moved() -> bool:  # not by the first try where other columns are still coming in
        result.drag_to(run, target_position={"x": 4, "y": 8})
        return names().index("result") + 1 == names().index("run")

    wait_for(is_moved, "the result before the name")
    width, box = box_of(run)["width"], box_of(run.locator(".grip"))
    page.mouse.move(box["x"] + 3, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 63, box["y"] + 5, steps=3)
    page.mouse.up()
    wait_for(lambda: abs(box_of(run)["width"] - width - 60) <= 2, "the wider column")
    page.get_by_role("button", name="columns").click()
    page.get_by_role("group", name="columns").get_by_label("loss").uncheck()
    expect(page.get_by_role("columnheader", name="loss")).to_have_count(0)
    before = names()
    page.reload()
    expect(page.get_by_role("link", name=NAME)).to_be_visible()
    wait_for(lambda: names() == before, "the columns as they were")
    page.evaluate("localStorage.clear()")


@in_browser
def test_pointer_on_a_row_lights_its_line_and_the_other_way_round(table: Any) -> None:
    page = table
    row_of(page, "edited").hover()
    expect(page.locator(".plot.is-dim")).to_have_count(2)
    page.get_by_label("Filter runs").hover()
    expect(page.locator(".plot.is-dim")).to_have_count(0)
