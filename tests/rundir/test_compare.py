from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainctl.rundir import files
from trainctl.rundir.compare import compare, fingerprint
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import differences, environment
from trainctl.rundir.status import Status, write_status

RECORDS: list[dict[str, Any]] = [
    {"step": 1, "loss": 0.5, "t": 1.0},
    {"step": 1, "accuracy": math.nan, "t": 1.5},
    {"step": 2, "loss": 0.25, "seconds": 3.0, "fingerprint": "f00d", "t": 2.0},
]


def made(path: Path, records: list[dict[str, Any]], edits: str = "", result: Any = 0.5) -> RunDir:
    run = RunDir.at(path)
    run.create()
    files.append_lines(run.metrics, records)
    run.changelog.write_text(f"0: {{lr: 0.1}}\n{edits}")
    files.write_yaml(run.result, {"value": result})
    return run


@pytest.mark.parametrize("attempt", [1, 2])
def test_who_reads_an_edit_is_compared_unless_a_run_was_resumed(tmp_path: Path, attempt: int) -> None:
    """An attempt that goes on behind an edit does not watch it: `not read within 20 steps` stays what is known."""
    one, other = (made(tmp_path / name, RECORDS, "1: {lr: 0.2}\n") for name in ("a", "b"))
    for run, step in ((one, None), (other, 2)):
        files.append_lines(run.events, [{"id": "e", "t": 1.0, "state": "read", "step": 1, "read": {"lr": step}}])
        write_status(run, Status("done", attempt=attempt if run is one else 1))
    expected = "step 1: the edited lr was not read, now read at step 2" if attempt == 1 else None
    assert compare(one, other).difference == expected


@pytest.mark.parametrize(
    ("left", "resumed", "lost", "difference"),
    [
        ([1, 2, 3, 6, 7, 8], [5], 2, None),
        ([1, 2, 3, 6, 8], [5, 7], 3, None),
        ([3, 4, 5, 6, 7, 8], [2], 2, None),
        ([1, 2, 3, 6, 7, 8], [], 0, "step 6: recorded next was a record of this step, now one of step 4"),
        ([1, 2, 3, 6, 7, 8], [4], 0, "step 6: recorded next was a record of this step, now one of step 5"),
        ([1, 2, 3, 5, 6, 7, 8], [2], 0, "step 5: recorded next was a record of this step, now one of step 4"),
        ([1, 2, 3, 4, 5, 6], [5], 0, "step 7: only the repetition has logged loss"),
    ],
)
def test_records_that_a_kill_took_before_the_step_of_a_resume_are_no_difference(
    tmp_path: Path, left: list[int], resumed: list[int], lost: int, difference: str | None
) -> None:
    one = made(tmp_path / "a", [{"step": step, "loss": 1 / step} for step in left])
    files.write_yaml(one.run, {"name": "a", "resumed_after": resumed})
    other = made(tmp_path / "b", [{"step": step, "loss": 1 / step} for step in range(1, 9)])
    verdict = compare(one, other)
    assert (verdict.difference, verdict.lost) == (difference, lost)
    assert verdict.records == len(left) or difference


def changed(place: int, **values: Any) -> list[dict[str, Any]]:
    return [{**record, **values} if number == place else record for number, record in enumerate(RECORDS)]


def test_equal_runs_are_identical_whatever_the_clock_said(tmp_path: Path) -> None:
    one = made(tmp_path / "a", RECORDS)
    other = made(tmp_path / "b", [{**record, "t": 9.0} for record in changed(2, seconds=4.0)])
    verdict = compare(one, other, ["seconds"])
    assert (verdict.records, verdict.fingerprint, verdict.difference) == (3, "f00d", None)


@pytest.mark.parametrize(
    ("records", "difference"),
    [
        (changed(0, loss=0.5000000000000001), "step 1: loss was 0.5, now 0.5000000000000001"),
        (changed(0, loss=1), "step 1: loss was 0.5, now 1"),
        (changed(1, accuracy=0.0), "step 1: accuracy was .nan, now 0.0"),
        (changed(2, fingerprint="beef"), "step 2: fingerprint was f00d, now beef"),
        (changed(1, more=1), "step 1: more was not logged, now 1"),
        (RECORDS[:2], "step 2: only the recorded run has logged fingerprint, loss, seconds"),
        ([*RECORDS, {"step": 3, "loss": 0.0}], "step 3: only the repetition has logged loss"),
        ([RECORDS[0], RECORDS[2]], "step 1: recorded next was a record of this step, now one of step 2"),
    ],
)
def test_first_difference_is_named_with_its_step(
    tmp_path: Path, records: list[dict[str, Any]], difference: str
) -> None:
    verdict = compare(made(tmp_path / "a", RECORDS), made(tmp_path / "b", records))
    assert verdict.difference == difference


def test_minus_zero_is_not_zero(tmp_path: Path) -> None:
    zero, minus = ([{"step": 1, "loss": value}] for value in (0.0, -0.0))
    assert compare(made(tmp_path / "a", zero), made(tmp_path / "b", minus)).difference == (
        "step 1: loss was 0.0, now -0.0"
    )


def test_edits_and_return_value_are_compared_too(tmp_path: Path) -> None:
    one = made(tmp_path / "a", RECORDS, "5: {lr: 0.2}\n")
    assert compare(one, made(tmp_path / "b", RECORDS)).difference == "step 5: the recorded edits differ"
    other = made(tmp_path / "c", RECORDS, "5: {lr: 0.2}\n", result=0.25)
    assert compare(one, other).difference == "the return value was 0.5, now 0.25"


def test_environment_says_what_numbers_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    facts = environment({"data": {"num_workers": 4}, "workers": 2, "n": 1})
    assert facts["cpu"]
    assert facts["threads"]["OMP_NUM_THREADS"] == "3"
    assert facts["flags"]["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert facts["workers"] == {"data.num_workers": 4, "workers": 2}


def test_differences_name_code_packages_and_machine() -> None:
    one = {
        "git": {"sha": "aaa", "dirty": False}, "python": "3.11.7", "packages": {"numpy": "2.1", "rich": "14"},
        "world_size": 1, "environment": {"torch": {"cudnn_benchmark": False}, "workers": {"n": 4}},
    }  # fmt: skip
    other = {
        "git": {"sha": "bbb", "dirty": True, "diff_sha256": "ccc"}, "python": "3.11.7",
        "packages": {"numpy": "2.2", "rich": "14", "new": "1"}, "world_size": 2,
        "environment": {"torch": {"cudnn_benchmark": True}, "workers": {"n": 0}},
    }  # fmt: skip
    assert differences(one, other) == [
        "git commit: aaa, now bbb", "uncommitted changes: none, now ccc", "world size: 1, now 2",
        "numpy: 2.1, now 2.2", "new: none, now 1", "torch.cudnn_benchmark: False, now True", "workers.n: 4, now 0",
    ]  # fmt: skip
    assert differences(one, one) == []
    many = {"packages": {f"p{number}": "1" for number in range(30)}}
    assert differences(many, {})[-1] == "20 more packages"


class Model:
    def __init__(self, weights: Any) -> None:
        self.weights = weights

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights, "steps": 3}


def test_fingerprint_tells_names_types_shapes_and_bits_apart() -> None:
    weights = np.arange(6.0)
    alike = [Model(weights), Model(np.arange(6.0)), {"steps": 3, "weights": weights[::1]}]
    assert len({fingerprint(model) for model in alike}) == 1
    arrays = [weights, weights.astype(np.float32), weights.reshape(2, 3), np.nextafter(weights, 9), -weights]
    others = [*map(Model, arrays), Model(list(weights)), {"weights": weights}, {"steps": 4, "weights": weights}]
    others += [weights, [weights]]
    assert len({fingerprint(model) for model in others}) == len(others)
    strided = np.stack([weights, weights], axis=1)[:, 0]
    assert fingerprint(strided) == fingerprint(weights)


@pytest.mark.parametrize("value", [object(), np.array([object()]), {"a": [lambda: 1]}])
def test_fingerprint_of_something_else_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^live\.fingerprint: model.* is of type .*; allowed are arrays, tens"):
        fingerprint(value)


def test_fingerprint_of_tensors() -> None:
    torch = pytest.importorskip("torch")
    weights = torch.arange(6, dtype=torch.bfloat16)
    assert fingerprint(weights) == fingerprint(weights.clone().requires_grad_())
    assert fingerprint(weights) != fingerprint(weights.float())
    assert fingerprint(weights.reshape(2, 3)) != fingerprint(weights.reshape(3, 2))
    assert fingerprint(torch.tensor(1.0)) != fingerprint(torch.tensor(2.0))
    assert fingerprint(torch.nn.Linear(2, 2)) != fingerprint(torch.nn.Linear(2, 2))
