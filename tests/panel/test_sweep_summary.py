"""What a sweep is at a glance: every state is counted, every slot is shown, every failure has its reason."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args

import pytest
from made_sweep import make_run

from trainctl.panel.data.run_index import RunIndex, mean_of
from trainctl.panel.data.run_view import RunRow
from trainctl.panel.widgets import summary
from trainctl.rundir import sweep
from trainctl.rundir.status import FAILED, State
from trainctl.rundir.sweep import read_memory, recorded


@pytest.mark.parametrize("state", get_args(State))
def test_every_state_is_counted(tmp_path: Path, state: State) -> None:
    row = RunRow.of(make_run(tmp_path, "a", [], state=state))
    index = RunIndex()
    index.follow({"a": row})
    assert index.state_counts() == {row.summary.state: 1}


@pytest.mark.parametrize("state", [*FAILED, "interrupted"])
def test_every_kind_of_failure_has_its_reason_and_its_log(tmp_path: Path, state: State) -> None:
    text = summary.failures({"x/a": RunRow.of(make_run(tmp_path, "a", [], state=state))})
    assert "1 failed or interrupted" in text
    assert "the loss is nan" in text
    assert 'href="run/x%2Fa?tab=log"' in text


def test_idle_slots_stay_in_sight_while_a_job_runs_or_waits_and_no_longer(tmp_path: Path) -> None:
    rows = {name: RunRow.of(make_run(tmp_path, name, [], slot=name)) for name in ("1", "0")}
    waits = dataclasses.replace(rows["0"].summary, state="queued", slot=None)
    text = summary.slots({**rows, "waits": RunRow(waits, None)})
    assert text.index("<b>0</b> idle") < text.index("<b>1</b> idle")
    runs = dataclasses.replace(rows["0"].summary, state="running", slot="2")
    assert summary.slots({**rows, "runs": RunRow(runs, None)}).count(" idle</span>") == 2
    alone = dataclasses.replace(rows["0"].summary, state="running", slot=None)
    assert summary.slots({**rows, "alone": RunRow(alone, None)}) == ""


def test_memory_of_a_slot_stands_beside_it_while_it_is_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {name: RunRow.of(make_run(tmp_path, name, [], slot=name)) for name in ("0", "1")}
    assert read_memory(tmp_path) == {}
    found = {"0": (2048.0, 81920.0)}
    assert recorded(lambda: found, tmp_path)() == found
    text = summary.slots(rows, read_memory(tmp_path))
    assert text.index("2.0/80 GiB") < text.index("<b>1</b>")
    assert text.count("GiB") == 1
    monkeypatch.setattr(sweep, "FRESH_S", -1.0)
    assert read_memory(tmp_path) == {}


@pytest.mark.parametrize("text", ["", "[]", "at: 1", "at: now\nslots: 3", "at: 99999999999.0\nslots: {a: [x, 1]}"])
def test_record_of_another_shape_says_nothing(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "FRESH_S", float("inf"))
    recorded(lambda: {"0": (1.0, 2.0)}, tmp_path)()
    assert read_memory(tmp_path) == {"0": (1.0, 2.0)}
    (tmp_path / ".trainctl" / "memory.yaml").write_text(text)
    assert read_memory(tmp_path) == {}


def test_equal_results_have_no_deviation(tmp_path: Path) -> None:
    index = RunIndex()
    index.follow({str(at): RunRow.of(make_run(tmp_path, str(at), [], result=0.1)) for at in range(3)})
    assert mean_of(list(index.entries), "result") == (0.1, 0.0)
