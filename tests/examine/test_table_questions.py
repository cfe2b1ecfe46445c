"""What can be asked of a table: which runs, in which order, grouped by what."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from examined import make

from trainctl.config.changelog import Edit
from trainctl.examine import Examiner
from trainctl.examine.frame import values_of


def test_runs_keep_their_order_and_those_that_are_gone_go(tmp_path: Path) -> None:
    for name in ("a", "c"):
        make(tmp_path / "x" / name, {"lr": 0.1}, result=1.0)
    make(tmp_path / "w" / "z", {"lr": 0.1}, result=1.0)
    examiner = Examiner().exam(tmp_path / "x").exam(tmp_path / "w")
    make(tmp_path / "x" / "b", {"lr": 0.1}, result=1.0)
    assert list(examiner.exam(tmp_path / "x", regex="b").named()) == ["a", "b", "c", "z"]
    shutil.rmtree(tmp_path / "x" / "a")
    (tmp_path / "x" / "c").rename(tmp_path / "x" / "d")
    assert list(examiner.exam(tmp_path / "x").named()) == ["b", "d", "z"]


def test_no_two_runs_have_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("p/x/same", "x/same", "y/same", "y/q/outputs/a", "outputs/a"):
        make(tmp_path / path, {"at": path}, result=1.0)
    monkeypatch.chdir(tmp_path)
    examiner = Examiner().exam("p").exam("x").exam("y").exam("outputs").exam("outputs/a")
    monkeypatch.chdir(tmp_path / "y" / "q")
    examiner.exam("outputs")
    rows = examiner.named()
    assert len(rows) == 5
    for name, row in rows.items():
        assert str(row.run.path).endswith(name)
    single = Examiner().exam(tmp_path / "x" / "same").exam(tmp_path / "y" / "same")
    assert list(single.named()) == [str(tmp_path / "x" / "same"), str(tmp_path / "y" / "same")]


@pytest.fixture
def runs(tmp_path: Path) -> Examiner:
    """Four runs with one parameter; two of them were edited."""
    for at in range(4):
        edits = [Edit(2, {"optim.lr": 0.01})] if at % 2 else []
        make(tmp_path / f"r{at}", {"optim": {"lr": 0.1}, "n": at}, f"n={at}", result=float(at), edits=edits)
    make(tmp_path / "r4", {"optim": {"lr": 0.1}, "n": 4}, "n=4", state="failed")
    return Examiner().add(lambda run: {"half": run.name in ("r0", "r1")})


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("optim.lr@end", [(0.1, 2, 1.0), (0.01, 2, 2.0)]),
        ("edits", [(0, 2, 1.0), (1, 2, 2.0)]),
        ("half", [(True, 2, 0.5), (False, 2, 2.5)]),
        ("optim.lr", [(0.1, 4, 1.5)]),
        ("state", [("done", 4, 1.5), ("failed", 0, None)]),
    ],
)
def test_runs_are_grouped_by_anything(runs: Examiner, tmp_path: Path, by: str, groups: Any) -> None:
    table = runs.exam(tmp_path).table(by=by, metrics="result")
    columns = values_of(table)
    assert list(columns) == [by, "runs", "not done", "result", "result std", "result count"]
    assert list(zip(columns[by], columns["runs"], columns["result"], strict=True)) == groups


def test_times_and_final_values_have_a_mean_too(runs: Examiner, tmp_path: Path) -> None:
    table = runs.exam(tmp_path).table(by="half", metrics=["took_s", "optim.lr@end"])
    assert table.iloc[0, 2:].tolist() == [
        60.0, 0.0, 2, pytest.approx(0.055), pytest.approx(0.06364, rel=1e-3), 2,
    ]  # fmt: skip
    each = runs.table(metrics=["started", "attempt"])
    assert list(each)[:4] == ["state", "n", "optim.lr@end", "started"]
    assert each["started"].iloc[0].startswith("1970-01-01T")


def test_a_group_of_which_no_run_is_done_is_shown_without_a_best_one(runs: Examiner, tmp_path: Path) -> None:
    table = runs.exam(tmp_path).table(by="n", best="result:max", metrics="result:max")
    assert values_of(table) == {
        "n": [0, 1, 2, 3, 4], "best run": ["r0", "r1", "r2", "r3", None], "result:max": [0.0, 1.0, 2.0, 3.0, None],
    }  # fmt: skip


def test_a_replay_that_was_swept_is_a_column(tmp_path: Path) -> None:
    for name in "ab":
        config = {"lr": 0.1, "trainctl": {"replay": f"outputs/{name}", "poll_s": 0.05 if name == "a" else 1}}
        make(tmp_path / name, config, f"trainctl.replay=outputs/{name}", f"trainctl.poll_s={name}")
    table = Examiner().exam(tmp_path).table()
    assert list(table) == ["trainctl.replay", "took_s"]
    assert list(table["trainctl.replay"]) == ["outputs/a", "outputs/b"]


def test_a_directory_without_runs_is_left_as_it_is(tmp_path: Path) -> None:
    assert len(Examiner().exam(tmp_path).table()) == 0
    assert list(tmp_path.iterdir()) == []
