"""What is sent of parameters and outcomes: places, shares, colours; and what runs differ in when they are compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_sweep import make_run, make_sweep

from trainctl.config.changelog import Changelog, Edit, dumps
from trainctl.panel.data.run_index import RunIndex
from trainctl.panel.data.watcher import Watcher
from trainctl.panel.widgets.config import config_difference, edits_by_step
from trainctl.panel.widgets.parameters import TOO_FEW, explained, relations_of


def test_what_a_parameter_explains_is_corrected_for_chance() -> None:
    steps = [0.1 * at for at in range(60)]
    assert explained(steps, [value * value for value in steps], is_number=True) > 0.9
    noise = [(at * 7919) % 101 / 101 for at in range(60)]
    assert explained(steps, noise, is_number=True) < 0.15
    assert explained([0, 1, 2, 3], [1.0, 2.0, 3.0, 4.0], is_number=True) == 0.0  # as many groups as runs
    assert explained([0, None, 1, 0, 1], [1.0, 99.0, 2.0, 1.0, 2.0], is_number=False) == 1.0
    assert explained([0, 0, 1], [3.0, 3.0, 3.0], is_number=False) == 0.0


def test_runs_that_are_done_have_places_on_all_axes(tmp_path: Path) -> None:
    make_sweep(tmp_path, 12)
    make_run(tmp_path, "diverged", ["norm=new", "optim.lr=9"], result=float("nan"))
    make_run(tmp_path, "ungiven", ["optim.lr=0.01", "of.one=3"], result=0.95)
    index = RunIndex()
    index.follow(Watcher(tmp_path).rows())
    sent = relations_of(index, list(index.rows), "")
    assert (sent["outcomes"], sent["outcome"], sent["empty"]) == (["result", "loss", "accuracy"], "result", "")
    words = {key["name"]: sorted(key["words"] or ()) for key in sent["keys"]}
    assert words == {"norm": ["batch", "new"], "optim.lr": [], "seed": []}
    names = [run["name"] for run in sent["runs"]]
    assert len(names) == 12  # without the failed one, and without the one that has no number
    assert "diverged" not in names
    ungiven = sent["runs"][names.index("ungiven")]
    assert None in ungiven["values"]
    assert {key["name"]: key["share"] for key in sent["keys"]}["seed"] == 0.0
    assert relations_of(index, ["ungiven"], "result")["empty"] == TOO_FEW
    assert relations_of(RunIndex(), [], "x")["empty"] == TOO_FEW


def test_compared_runs_differ_in_keys_and_edits_are_aligned_by_step(tmp_path: Path) -> None:
    for name, edits in (
        ("a", [Edit(10, {"lr": 0.5}), Edit(30, {"lr": 0.25, "wd": 1})]),
        ("b", [Edit(30, {"lr": 0.25})]),
        ("c", []),
    ):
        run = make_run(tmp_path, name, [])
        run.changelog.write_text(dumps(Changelog({"lr": 0.1, "wd": 0, "same": 1}, edits)))
    watcher = Watcher(tmp_path)
    watcher.rows()
    views = [view for name in "abc" if (view := watcher.view(name)) is not None]
    assert config_difference(*views) == [("lr", "0.25", "0.25", "0.1"), ("wd", "1", "0", "0")]
    assert edits_by_step(*views) == [
        ("10", "lr 0.1 → 0.5", "", ""),
        ("30", "lr 0.5 → 0.25; wd 0 → 1", "lr 0.1 → 0.25", ""),
    ]
    assert config_difference(views[0]) == edits_by_step(views[2]) == []


@pytest.mark.parametrize("wanted", ["loss", "no such outcome"])
def test_outcome_is_what_was_asked_for_if_it_is_there(tmp_path: Path, wanted: str) -> None:
    make_sweep(tmp_path, 6)
    index = RunIndex()
    index.follow(Watcher(tmp_path).rows())
    assert relations_of(index, list(index.rows), wanted)["outcome"] == ("loss" if wanted == "loss" else "result")
