from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from trainctl.config import yaml
from trainctl.rundir import files, summary
from trainctl.rundir.lock import RunLock
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, write_status
from trainctl.rundir.summary import summarize


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir.at(tmp_path / "Norm_new")
    run.create()
    return run


def test_summary_of_an_empty_directory_says_queued_and_nothing_else(run: RunDir) -> None:
    row = summarize(run)
    assert (row.name, row.state, row.overrides, row.edits, row.attempt) == ("Norm_new", "queued", [], 0, 1)
    assert (row.step, row.metrics, row.result, row.age_s, row.reason) == (None, {}, None, None, None)


def test_summary_of_a_running_run_tells_progress_and_time_left(run: RunDir) -> None:
    lock = RunLock(run.lock)
    assert lock.acquire()
    write_status(run, Status.running_here(attempt=2, slot="0,1"))
    files.write_yaml(run.run, {"name": "A name", "overrides": ["norm=new", "lr=0.1"], "packages": {"numpy": "2"}})
    files.write_yaml(run.progress, {"step": 30, "total": 100, "rate": 7.0, "t": time.time()})
    row = summarize(run)
    assert (row.state, row.name, row.overrides) == ("running", "A name", ["norm=new", "lr=0.1"])
    assert (row.step, row.total, row.rate, row.eta_s) == (30, 100, 7.0, 10.0)
    assert (row.slot, row.pid, row.attempt) == ("0,1", os.getpid(), 2)
    assert row.duration_s is not None
    assert row.age_s is not None
    assert row.age_s < 60
    lock.release()
    assert summarize(run).eta_s is None


@pytest.mark.parametrize(("state", "total"), [("done", None), ("stopped", 3000), ("failed", 3000)])
def test_run_that_is_done_by_fewer_steps_than_it_said_has_no_total(run: RunDir, state: str, total: int | None) -> None:
    files.write_yaml(run.progress, {"step": 532, "total": 3000})
    write_status(run, Status.running_here(attempt=1, slot=None).end(state, exit_code=0))
    row = summarize(run)
    assert (row.step, row.total) == (532, total)
    files.write_yaml(run.progress, {"step": 3000, "total": 3000})
    assert summarize(run).total == 3000


def test_summary_of_a_killed_run_is_interrupted_with_a_reason(run: RunDir) -> None:
    write_status(run, Status.running_here(attempt=1, slot=None))
    row = summarize(run)
    assert row.state == "interrupted"
    assert row.reason is not None
    assert row.reason.endswith("without recording how it ended (killed, a full disk, or the machine went down)")


def test_summary_of_a_failed_run_gives_the_recorded_reason_and_duration(run: RunDir) -> None:
    write_status(run, Status("failed", started=100.0, ended=160.5, reason="ValueError: no"))
    row = summarize(run)
    assert (row.state, row.reason, row.duration_s) == ("failed", "ValueError: no", 60.5)


def test_summary_metrics_are_the_last_of_each_and_numbers_only(run: RunDir) -> None:
    files.append_lines(
        run.metrics,
        [
            {"step": 1, "loss": 3.0, "accuracy": 0.5, "t": 1.0},
            {"step": 2, "loss": 2, "note": "text", "flag": True, "t": 2.0},
        ],
    )
    row = summarize(run)
    assert row.metrics == {"loss": 2, "accuracy": 0.5}
    assert list(row.metrics) == ["loss", "accuracy"]
    assert row.step == 2


def test_summary_reads_only_the_tail_of_long_metrics(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    files.append_lines(run.metrics, ({"step": n, "loss": 1.0 / n, "t": 0.0} for n in range(1, 20001)))
    monkeypatch.setattr(files, "read_lines", lambda path: pytest.fail("a whole file was read"))
    row = summarize(run)
    assert (row.step, row.metrics) == (20000, {"loss": 1.0 / 20000})


@pytest.mark.parametrize("size", [1, 4, 5, 6, 9, 10, 100])
def test_tail_never_starts_within_a_line(tmp_path: Path, size: int) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"aaaa\nbbbb\n")
    expected = {1: b"", 4: b"", 5: b"bbbb\n", 6: b"bbbb\n", 9: b"bbbb\n", 10: b"aaaa\nbbbb\n", 100: b"aaaa\nbbbb\n"}
    assert summary.read_tail(path, size) == expected[size]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"value": 0.97}, 0.97),
        ({"value": None}, None),
        ({"value": {"accuracy": 0.5}}, {"accuracy": 0.5}),
        ({"type": "Model", "repr": "Model(3)"}, "Model(3)"),
    ],
)
def test_summary_result_is_the_value_or_its_text(run: RunDir, record: dict[str, object], expected: object) -> None:
    files.write_yaml(run.result, record)
    assert summarize(run).result == expected


def test_summary_counts_the_steps_with_edits(run: RunDir) -> None:
    run.changelog.write_text(
        '0:\n  optim: {lr: 0.1}\n  7: {a: 1}\n69:   # 21:03 panel root\n  "420": x\n420: {batch_size: 16}\n'
    )
    assert summarize(run).edits == 2


def test_summary_survives_torn_and_foreign_files(run: RunDir) -> None:
    run.run.write_bytes(b"name: [1, \xff\noverrides: 3\n")
    run.status.write_text("state: running\npid: many\nstarted: yesterday\nslot: 0\nattempt: x\nfuture: 1\n")
    run.progress.write_text("step: {a: 1}\nrate: '3'\n")
    run.metrics.write_bytes(b'{"step": 1, "loss": 2.0}\n[1]\nnonsense\n{"step": 2, "lo')
    run.result.write_text("- 1\n")
    row = summarize(run)
    assert (row.name, row.overrides, row.pid, row.slot, row.attempt) == ("Norm_new", [], None, "0", 1)
    assert (row.step, row.metrics, row.result) == (1, {"loss": 2.0}, None)


def test_record_reads_the_wanted_entries_of_what_dumps_writes(run: RunDir) -> None:
    whole = {
        "name": "two\nlines: and 'quotes'",
        "overrides": ["a=[1, 2]", "b=x: y", "packages: no"],
        "packages": {f"package{n}": "1.0" for n in range(300)},
        "keys": {"overrides": {"type": "int"}},
        "script": "train.py",
    }
    files.write_yaml(run.run, whole)
    assert summary.read_record(run, "name", "overrides") == {key: whole[key] for key in ("name", "overrides")}
    assert summary.read_record(run, "script", "absent") == {"script": "train.py"}


def test_summaries_of_a_thousand_runs_are_quick(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = yaml.dumps({0: {"optim": {"lr": 0.1}, "layers": list(range(50))}})
    record = yaml.dumps({"name": "n", "overrides": ["a=1"], "packages": {f"package{n}": "1.0" for n in range(200)}})
    lines = "".join(json.dumps({"step": n, "loss": 1.0, "t": 0.0}) + "\n" for n in range(500))
    for number in range(1000):
        run = RunDir.at(tmp_path / f"run{number}")
        run.create()
        run.run.write_text(record)
        run.status.write_text("state: done\nattempt: 1\nslot: '0'\nstarted: 2026-01-01T00:00:00+00:00\n")
        run.progress.write_text("step: 500\ntotal: 500\nrate: 100.0\nt: 1.0\n")
        run.metrics.write_text(lines)
        run.changelog.write_text(base)
    start = time.perf_counter()
    rows = [summarize(RunDir.at(path)) for path in tmp_path.iterdir()]
    with capsys.disabled():
        print(f"\n1,000 summaries: {time.perf_counter() - start:.2f} s")
    assert len(rows) == 1000
    assert all(row.step == 500 for row in rows)
