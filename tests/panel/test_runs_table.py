"""The table of runs: what its cells say, that names are only text, and that only what changed is sent."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from made_sweep import make_run, make_sweep

from trainctl.panel.data.watcher import Watcher
from trainctl.panel.widgets.runs import RunTable, swept_of
from trainctl.panel.widgets.summary import counts, failures, slots
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir

# Bokeh's own call of pandas
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.reset_index")

BAD = "<img src=x onerror=window.pwned=1>"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def table_of(root: Path) -> RunTable:
    return RunTable(Watcher(root).rows(), lambda: None)


def test_swept_keys_and_metrics_are_columns(root: Path) -> None:
    make_sweep(root, 12)
    table = table_of(root)
    assert list(table.view.value.columns) == [
        "state", "run", "norm", "optim.lr", "seed", "slot", "step", "total", "loss", "accuracy", "result", "edits",
        "took", "last sign", "reason",
    ]  # fmt: skip
    row = table.view.value.iloc[0]
    assert (row["norm"], row["step"], row["loss"], row["edits"]) == ("batch", 100, 0.01, 1)
    assert math.isnan(table.view.value["edits"].dtype.type("nan"))


def test_everything_from_files_is_escaped(root: Path) -> None:
    make_run(root, BAD.replace("/", ""), [f"key={BAD}"], slot=BAD)
    run = make_run(root, "other", ["key=1"], state="failed")
    files.append_lines(run.metrics, [{"step": 101, BAD: 0.25}])
    rows = Watcher(root).rows()
    table = table_of(root)
    written = " ".join(str(cell) for cell in table.view.value.to_numpy().ravel()) + " ".join(table.view.titles.values())
    assert "<img" not in written
    assert written.count("&lt;img") >= 4
    assert "<img" not in counts(rows) + slots(rows) + failures(rows)


def test_only_changed_cells_are_sent(root: Path) -> None:
    make_sweep(root, 6)
    watching = Watcher(root)
    rows = watching.rows()
    table = RunTable(rows, lambda: None)
    name = next(iter(rows))
    files.write_yaml(RunDir.at(root / name).progress, {"step": 77, "total": 100})
    watching._listed = float("-inf")
    sent = []
    table.view.patch = sent.append
    table.follow(watching.rows())
    assert len(sent) == 1
    sent[0].pop("last sign", None)  # of any run: it goes on with the clock
    assert sent[0] == {"step": [(0, 77.0)]}


def test_chosen_runs_stay_chosen_when_others_come(root: Path) -> None:
    make_sweep(root, 6)
    watching = Watcher(root)
    table = RunTable(watching.rows(), lambda: None)
    chosen = list(watching.rows())[2:4]
    table.choose(chosen)
    make_run(root, "A_first", ["norm=x"])
    watching._listed = watching._scanned = float("-inf")
    table.follow(watching.rows())
    assert table.chosen == chosen


def test_slots_and_failures_are_told(root: Path) -> None:
    make_sweep(root, 10)
    rows = Watcher(root).rows()
    assert slots(rows).count("idle</span>") == 4
    assert "1 failed or interrupted" in failures(rows)
    assert "the loss is nan" in failures(rows)
    assert "?tab=log" in failures(rows)
    assert list(swept_of(rows)) == ["norm", "optim.lr", "seed"]
