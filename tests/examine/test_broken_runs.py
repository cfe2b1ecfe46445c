"""Runs of which something cannot be read: each is a row that says why, and the others are not touched."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from examined import make, make_mlrunner

from trainctl.config.changelog import Edit
from trainctl.examine import Examiner
from trainctl.examine.curve import MetricSummary, mean_of, read_curves
from trainctl.examine.row import Row
from trainctl.examine.writing import FORMS, write
from trainctl.rundir.paths import RunDir

GARBAGE = bytes(range(255, -1, -1)) * 3


def broken(run: RunDir, name: str, content: bytes | None) -> None:
    """Replace a file of a run; a link to nothing instead if there is no content."""
    path = run.path / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if content is None:
        path.symlink_to("nowhere")
    else:
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("status.yaml", b"state: [don", r"status\.yaml: it is not YAML \(line 2, column 1: did not find"),
        ("status.yaml", b"", r"status\.yaml: it holds no mapping"),
        ("status.yaml", GARBAGE, r"status\.yaml: it is not YAML"),
        ("status.yaml", None, r"status\.yaml: it is a link, which is not followed"),
        ("status.yaml", b"state: 5\n", r"status\.yaml: state 5 is not a state"),
        (
            "status.yaml",
            b"{[1]: 2, state: done}\n",
            r"status\.yaml: it is not YAML \(line 1, column 2: found list or mapping as a key",
        ),
        ("run.yaml", GARBAGE, r"run\.yaml: it is not YAML"),
        ("run.yaml", b"overrides: [a", r"run\.yaml: it is not YAML"),
        ("run.yaml", b"overrides: {[1]: 2}\n", r"found list or mapping as a key"),
        ("result.yaml", b"value: [1", r"result\.yaml: it is not YAML"),
        ("result.yaml", b"value: " + b"[" * 200 + b"]" * 200, r"result\.yaml: it is nested more than 100 deep"),
        ("changelog.yaml", GARBAGE, r"changelog\.yaml is not a changelog"),
        ("metrics.jsonl", GARBAGE, r"metrics\.jsonl: none of its lines is a record"),
        ("metrics.jsonl", b'{"a":' + b"[" * 200_000 + b"\n", r"metrics\.jsonl: none of its lines is a record"),
    ],
)
def test_what_cannot_be_read_is_the_reason_of_its_row(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    make(tmp_path / "a", {"lr": 0.1}, "lr=0.1", result=1.0, metrics=[{"loss": 1.0}])
    broken(make(tmp_path / "b", {"lr": 0.2}, "lr=0.2", result=2.0, metrics=[{"loss": 2.0}]), name, content)
    examiner = Examiner().exam(tmp_path)
    rows = examiner.named()
    assert list(rows) == ["a", "b"]
    assert (rows["a"].why, rows["a"].result) == (None, 1.0)
    assert re.search(reason, rows["b"].why or "")
    if name != "changelog.yaml":
        assert rows["b"].start == {"lr": 0.2}
    assert all(write(examiner.table(), form) for form in FORMS)


@pytest.mark.parametrize("name", ["param", "stat"])
@pytest.mark.parametrize("content", [GARBAGE, b"{[1]: 2}", b"- a", b"x: [1"])
def test_what_mlrunner_left_half_written_is_a_reason_too(tmp_path: Path, name: str, content: bytes) -> None:
    make_mlrunner(tmp_path, "CE", 0, [0.5])
    (make_mlrunner(tmp_path, "MSE", 0, [0.5]) / name).write_bytes(content)
    examiner = Examiner().add(lambda run: {"ok": 1}).exam(tmp_path)
    whole, torn = examiner.named().values()
    assert (whole.why, whole.state, torn.found) == (None, "done", {"ok": 1})
    assert re.search(rf"{name}: it (is not YAML|holds no mapping)", torn.why or "")
    assert len(examiner.table()) == 2


def test_whatever_stands_in_a_file_there_is_a_table(tmp_path: Path) -> None:
    config = {"optim": {"lr": 0.1, "betas": [0.9]}, "x": None}
    edits = [Edit(2, {"optim.lr": 0.2}, note="calmer")]
    run = make(tmp_path / "a", config, "optim.lr=0.1", result={"a": 1.0}, metrics=[{"loss": 1.0}] * 3, edits=edits)
    run.progress.write_text("step: 1\ntotal: 5\n")
    run.config.parent.mkdir()
    (run.config.parent / "hydra.yaml").write_text("hydra:\n  runtime:\n    choices:\n      norm: new\n")
    whole = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    odd = (
        "{|}|[|]|: |- |\n|!!python/object:x |&a |*a|? |!!timestamp z|!!bool q|!!binary x|!!set {a}|<<: |---\n|%|1:30|9"
    )
    chance = random.Random(6)
    for _ in range(250):
        path = chance.choice(list(whole))
        text = bytearray(whole[path])
        for _ in range(chance.randint(1, 4)):
            at = chance.randint(0, len(text))
            text[at : at + chance.randint(0, 3)] = chance.choice([*odd.encode().split(b"|"), b"\0", b"\xff", b""])
        path.write_bytes(text)
        examiner = Examiner(cache=False).exam(tmp_path)
        assert all(write(examiner.table(), form) for form in FORMS), bytes(text)
        path.write_bytes(whole[path])


def test_a_run_of_which_no_config_is_there_says_so(tmp_path: Path) -> None:
    run = make(tmp_path / "a", {"lr": 0.1}, result=1.0)
    run.changelog.unlink()
    assert re.search("its config is not known", Examiner().exam(tmp_path).table()["reason"]["a"])
    broken(run, ".hydra/config.yaml", GARBAGE)
    assert re.search(r"config\.yaml: it is not YAML", Examiner().exam(tmp_path).table()["reason"]["a"])
    broken(run, ".hydra/config.yaml", b"lr: 0.3\n")
    (row,) = Examiner().exam(tmp_path).rows.values()
    assert (row.start, row.why) == ({"lr": 0.3}, None)


def test_event_files_that_cannot_be_read_are_a_reason(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = make(tmp_path / "a", {"lr": 0.1}, result=1.0)
    (run.path / "events.out.tfevents.1").mkdir()
    (run.path / "events.out.tfevents.2").symlink_to("nowhere")
    assert Examiner().exam(tmp_path).named()["a"].why is None  # neither is a file
    (run.path / "events.out.tfevents.3").write_bytes(GARBAGE)
    assert Examiner().exam(tmp_path).named()["a"].result == 1.0


@pytest.mark.parametrize(
    ("values", "mean", "last"),
    [
        ("1" + "0" * 400, math.inf, math.inf),
        ("-1" + "0" * 400, -math.inf, -math.inf),
        ("1e308", 1e308, 1e308),
        ("Infinity", math.inf, math.inf),
    ],
)
def test_numbers_that_no_float_holds_are_infinite(tmp_path: Path, values: str, mean: float, last: float) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1, "loss": {values}}}\n' * 3)
    loss = read_curves(path)["loss"]
    assert (loss.mean, loss.last, loss.count) == (mean, last, 3)


def test_a_mean_is_the_same_in_whatever_parts_it_is_read() -> None:
    for values in ([1.0, 2.0, 4.0, 9.0], [math.inf, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, -math.inf]):
        parts = MetricSummary()
        for at in range(0, 4, 2):
            parts.add(values[at : at + 2])
        assert parts.mean == mean_of(values)


def test_a_metrics_file_that_was_just_begun_is_no_reason(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for text in ("", '{"step": 1, "lo'):
        path.write_text(text)
        assert read_curves(path) == {}


class Refuses:
    """An object that cannot be sent to another process."""

    def __reduce__(self) -> Any:
        raise TypeError("not me")


@pytest.mark.parametrize("workers", [1, 2])
def test_parsers_that_misbehave_cost_their_own_value_only(tmp_path: Path, workers: int) -> None:
    for name in ("a", "b", "c"):
        make(tmp_path / name, {"lr": 0.1}, result=1.0)

    def ends(run: RunDir) -> dict[str, Any]:
        if run.name == "a":
            raise SystemExit(3)
        return {"good": 1}

    def lists(run: RunDir) -> Any:
        return [1, 2] if run.name == "b" else None

    def odd(run: RunDir) -> dict[str, Any]:
        return {"odd": Refuses() if run.name == "c" else 2}

    examiner = Examiner().add(ends).add(lists).add(odd).exam(tmp_path, workers=workers)
    rows = examiner.named()
    assert rows["a"].why == "ends: SystemExit: 3"
    assert rows["b"].why == "lists: TypeError: it returned list, not a mapping of names to values"
    assert [row.found.get("good") for row in rows.values()] == [None, 1, 1]
    if workers > 1:
        assert rows["c"].why == "odd: what was found cannot be sent to another process; read with workers=1"
    assert write(examiner.table(), "md").count("\n") >= 5


def found_by(tmp_path: Path, *parsers: Callable[..., Any]) -> Row:
    make(tmp_path / "a", {"lr": 0.1}, result=1.0)
    examiner = Examiner()
    for parser in parsers:
        examiner.add(parser)
    (row,) = examiner.exam(tmp_path).rows.values()
    return row


def test_parsers_may_take_more_than_they_are_given(tmp_path: Path) -> None:
    def theirs(path: Path, experiment: Any, caches: Any = None) -> None:
        experiment.metric["theirs"] = caches == {}

    row = found_by(tmp_path, theirs, lambda run, least=3: {"least": least}, lambda *run: {"number": len(run)})
    assert row.found == {"theirs": True, "least": 3, "number": 1}


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    values = {"f": numpy.float32(0.5), "i": numpy.int64(3), "b": numpy.bool_(True), "zero": numpy.array(2.0)}
    row = found_by(tmp_path, lambda run: {**values, "rows": numpy.zeros(3)})
    assert [type(row.found[name]) for name in values] == [float, int, bool, float]
    table = Examiner().add(lambda run: {**values, "rows": numpy.zeros(3)}).exam(tmp_path)
    assert "[0. 0. 0.]" in write(table.table(), "csv")
    (line,) = table.table(by="lr", metrics=["f", "i"])[["f", "f count", "i", "i count"]].to_numpy().tolist()
    assert line == [0.5, 1, 3.0, 1]
