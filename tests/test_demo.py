"""The demo task learns, repeats itself bit for bit, takes edits, and its layers' gradients are right."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digits import SGD, Network, Samples, build_network, load_task, read_samples, schedule_factor
from trainctl.config import yaml

NORMS: dict[str, dict[str, Any]] = {
    "batch": {"name": "batch", "decay": 0.9},
    "new": {"name": "new", "decay": 0.9, "moment": 0.5},
    "layer": {"name": "layer"},
    "none": {"name": "none"},
}
FILES = {
    ".hydra", "run.yaml", "status.yaml", "changelog.yaml", "events.jsonl", "inbox", "metrics.jsonl", "progress.yaml",
    "job.log", "result.yaml", "run.lock",
}  # fmt: skip
RunDemo = Callable[..., "subprocess.CompletedProcess[str]"]


def build(norm: dict[str, Any], seed: int = 0) -> Network:
    return Network(inputs=64, hidden=[6, 5], classes=10, norm=norm, rng=np.random.default_rng(seed))


def metrics_of(run: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if name != "t"} for record in records]


def assert_gradients(build: Callable[[], Network], train: Samples) -> None:
    rng = np.random.default_rng(1)
    batch, past = train.sample(7, rng), train.sample(7, rng)

    def loss_after(nudge: float, layer: int, param: int) -> tuple[float, float]:
        network = build()
        network.backpropagate(past)  # sets the running moments before the nudge
        network.layers[layer].params[param].flat[3] += nudge
        loss, _ = network.backpropagate(batch)
        return loss, float(network.layers[layer].grads[param].flat[3])

    for layer, parts in enumerate(build().layers):
        for param in range(len(parts.params)):
            _, slope = loss_after(0.0, layer, param)
            measured = (loss_after(1e-5, layer, param)[0] - loss_after(-1e-5, layer, param)[0]) / 2e-5
            assert slope == pytest.approx(measured, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("name", ["digits", "wine"])
def test_samples_are_those_that_scikit_learn_loads(name: str) -> None:
    expected = getattr(pytest.importorskip("sklearn.datasets"), f"load_{name}")()
    data, target = read_samples(name)
    assert np.array_equal(data, expected.data)
    assert np.array_equal(target, expected.target)


@pytest.mark.parametrize("norm", NORMS.values(), ids=list(NORMS))
def test_gradient_is_the_slope_of_the_loss(norm: dict[str, Any]) -> None:
    assert_gradients(lambda: build(norm), load_task("digits")[0])


@pytest.mark.parametrize("name", ["rnn", "bag"])
def test_gradient_through_a_sequence_is_the_slope_of_the_loss(name: str) -> None:
    train, _ = load_task("digits_sequence")
    model = {"name": name, "inputs": 8, "width": 5, "hidden": [6]}
    assert_gradients(lambda: build_network(model, train, NORMS["layer"], np.random.default_rng(0)), train)


def test_new_with_moment_zero_is_batch() -> None:
    train, _ = load_task("digits")
    losses = []
    for norm in (NORMS["batch"], {**NORMS["new"], "moment": 0.0}):
        network, rng = build(norm), np.random.default_rng(2)
        optimizer = SGD(network)
        for _ in range(20):
            losses.append(network.backpropagate(train.sample(8, rng))[0])
            optimizer.step(lr=0.1, betas=[0.0], weight_decay=0.0)
    assert losses[:20] == losses[20:]


def test_sgd_takes_a_longer_and_a_shorter_list_of_betas() -> None:
    train, _ = load_task("digits")
    network = build(NORMS["none"])
    optimizer = SGD(network)
    for betas in ([0.9], [0.0, 0.9, 0.99], [0.5]):
        network.backpropagate(train)
        optimizer.step(lr=0.1, betas=betas, weight_decay=0.0)
        assert len(optimizer.averages) == len(betas)


def test_tasks_share_no_sample_between_training_and_test() -> None:
    sizes = {"digits": (10, 1797, (64,)), "parity": (2, 1797, (64,)), "digits_sequence": (10, 1797, (8, 8))}
    for name, expected in (sizes | {"wine": (3, 178, (13,))}).items():
        train, test = load_task(name)
        assert (train.classes, len(train.labels) + len(test.labels), train.images.shape[1:]) == expected
    with pytest.raises(
        ValueError, match=r"task.name='x' is not known; allowed are \['digits', 'digits_sequence', 'parity', 'wine'\]"
    ):
        load_task("x")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choices", "least", "lr"),
    [
        (["task=digits_sequence", "model=rnn"], 0.9, 0.05),
        (["task=digits_sequence", "model=bag", "optim.lr=0.2"], 0.4, 0.2),
        (["task=wine", "model=linear"], 0.85, 0.1),
    ],
)
def test_pair_is_adapted_and_learns(
    run_demo: RunDemo, tmp_path: Path, choices: list[str], least: float, lr: float
) -> None:
    run_demo("trainctl.seed=1", "hydra.run.dir=run", *choices)
    assert yaml.loads((tmp_path / "run" / "result.yaml").read_text())["value"] > least
    config = yaml.loads((tmp_path / "run" / ".hydra" / "config.yaml").read_text())
    assert (config["model"].get("inputs", 8), config["optim"]["lr"]) == (8, lr)


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ({"name": "constant"}, [1.0, 1.0, 1.0]),
        ({"name": "cosine", "floor": 0.2}, [1.0, 0.6, 0.2]),
        ({"name": "step", "milestones": [0.4, 0.9], "gamma": 0.5}, [1.0, 0.5, 0.25]),
    ],
)
def test_schedule_falls_from_one(schedule: dict[str, Any], factors: list[float]) -> None:
    assert [schedule_factor(schedule, done) for done in (0.0, 0.5, 1.0)] == pytest.approx(factors)


@pytest.mark.slow
def test_default_run_reaches_95_percent_and_repeats_itself(run_demo: RunDemo, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run_demo("trainctl.seed=1", f"hydra.run.dir={name}")
    accuracy = yaml.loads((tmp_path / "a" / "result.yaml").read_text())
    assert accuracy["value"] > 0.95
    assert accuracy == yaml.loads((tmp_path / "b" / "result.yaml").read_text())
    assert metrics_of(tmp_path / "a") == metrics_of(tmp_path / "b")


@pytest.mark.slow
def test_edits_of_rate_batch_size_and_list_take_effect_at_their_step(run_demo: RunDemo, tmp_path: Path) -> None:
    run_demo("trainctl.seed=1", "task.steps=60", "hydra.run.dir=plain")
    edits = {20: {"optim": {"lr": 0.02}}, 30: {"task": {"batch_size": 4}, "optim": {"betas": [0.0, 0.5]}}}
    changelog = yaml.loads((tmp_path / "plain" / "changelog.yaml").read_text()) | edits
    (tmp_path / "edits.yaml").write_text(yaml.dumps(changelog))
    run_demo("trainctl.seed=1", "task.steps=60", "trainctl.replay=edits.yaml", "hydra.run.dir=edited")

    plain, edited = metrics_of(tmp_path / "plain"), metrics_of(tmp_path / "edited")
    same = [before == after for before, after in zip(plain, edited, strict=True)]
    assert same.index(False) == 20, (
        "step 20 is the first that moves by another rate, so step 21 the first with another loss"
    )
    assert {record["accuracy"] * 4 % 1 for record in edited[29:59]} == {0.0}


@pytest.mark.slow
def test_sweep_fills_readable_run_dirs_and_skips_them_when_repeated(run_demo: RunDemo, tmp_path: Path) -> None:
    command = ("-m", "norm=new,batch", "task.steps=200")
    run_demo(*command)
    runs = {name: tmp_path / "outputs" / "train" / name for name in ("Norm_new", "Norm_batch")}
    for run in runs.values():
        assert {path.name for path in run.iterdir()} >= FILES
    losses = [[record["loss"] for record in metrics_of(run) if "loss" in record][-1] for run in runs.values()]
    assert losses[0] != losses[1]

    before = {path: path.stat().st_mtime_ns for run in runs.values() for path in run.rglob("*")}
    again = run_demo(*command)
    assert (again.stdout + again.stderr).count("SKIP") == 2
    assert {path: path.stat().st_mtime_ns for run in runs.values() for path in run.rglob("*")} == before
