"""The options of an optimizer follow their keys: what is kept, what is filled, what is logged."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from open_sessions import OpenLive

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from curves import Warmup  # noqa: E402

from trainctl.rundir.paths import RunDir  # noqa: E402

OPTIM = {"lr": 0.1, "wd": 0.01, "betas": [0.9, 0.99], "momentum": 0.9, "name": "adam"}


def weights(count: int = 1) -> list[Any]:
    made = [torch.nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(count)]
    for each in made:
        each.grad = torch.ones_like(each)
    return made


def test_edit_is_written_into_the_groups_at_its_step(open_live: OpenLive) -> None:
    live = open_live({3: {"optim": {"lr": 0.05, "wd": 0.02}}}, optim=OPTIM)
    optimizer = torch.optim.AdamW(weights(), lr=0.1, weight_decay=0.01)
    live.bind(optimizer, lr="optim.lr", weight_decay="optim.wd")
    seen = []
    for _ in range(4):
        live.step()
        group = optimizer.param_groups[0]
        seen.append((group["lr"], group["weight_decay"]))
    assert seen == [(0.1, 0.01), (0.1, 0.01), (0.05, 0.02), (0.05, 0.02)]


def test_groups_keep_their_ratios(open_live: OpenLive) -> None:
    live = open_live({1: {"optim": {"lr": 0.2, "wd": 0.03}}}, optim=OPTIM)
    body, head, bias = weights(3)
    groups = [
        {"params": [body], "lr": 0.01},
        {"params": [head]},
        {"params": [bias], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.1, weight_decay=0.01)
    live.bind(optimizer, lr="optim.lr", weight_decay="optim.wd")
    live.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.02, 0.2, 0.2])
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.03, 0.03, 0.0]


def test_group_that_is_added_later_keeps_the_ratio_of_that_moment(open_live: OpenLive) -> None:
    live = open_live({2: {"optim": {"lr": 0.2}}, 4: {"optim": {"lr": 0.1}}}, optim=OPTIM)
    first, second = weights(2)
    optimizer = torch.optim.SGD([first], lr=0.1)
    binding = live.bind(optimizer, lr="optim.lr")
    for step in range(1, 5):
        assert live.step() == step
        if step == 3:
            optimizer.add_param_group({"params": [second], "lr": 0.02})
        optimizer.step()
    assert binding.lr == pytest.approx([0.1, 0.01])


def test_tensor_options_are_filled_in_place(open_live: OpenLive) -> None:
    live = open_live({1: {"optim": {"lr": 0.2, "betas": [0.8, 0.9]}}}, optim=OPTIM)
    rate = torch.tensor(0.1)
    betas = torch.tensor(0.9), torch.tensor(0.99)
    optimizer = torch.optim.Adam(weights(), lr=rate, betas=betas, foreach=False, capturable=True)
    group = optimizer.param_groups[0]
    betas = group["betas"]
    live.bind(optimizer, lr="optim.lr", betas="optim.betas")
    live.step()
    assert group["lr"] is rate
    assert float(rate) == pytest.approx(0.2)
    assert group["betas"] is betas
    assert [float(beta) for beta in betas] == pytest.approx([0.8, 0.9])


def test_list_becomes_the_tuple_that_an_optimizer_wants(open_live: OpenLive) -> None:
    live = open_live({1: {"optim": {"betas": [0.8, 0.9]}}}, optim=OPTIM)
    optimizer = torch.optim.Adam(weights(), lr=0.1, betas=(0.9, 0.99))
    live.bind(optimizer, betas="optim.betas")
    live.step()
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.9)


def test_momentum_is_kept_against_a_scheduler_that_cycles_it(open_live: OpenLive) -> None:
    live = open_live({3: {"optim": {"momentum": 0.5}}}, optim=OPTIM)
    optimizer = torch.optim.SGD(weights(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10)
    live.bind(optimizer, momentum="optim.momentum")
    used = []
    optimizer.register_step_pre_hook(lambda *_: used.append(optimizer.param_groups[0]["momentum"]))
    for _ in range(5):
        live.step()
        optimizer.step()
        scheduler.step()
    assert used[2:] == [0.5] * 3
    assert used[0] != used[1]


def test_hand_set_rate_is_left_alone_by_edits_of_other_keys(open_live: OpenLive) -> None:
    live = open_live({1: {"optim": {"wd": 0.5}}}, optim=OPTIM)
    optimizer = torch.optim.SGD(weights(), lr=0.1)
    live.bind(optimizer, lr="optim.lr")
    optimizer.param_groups[0]["lr"] = 0.07
    live.step()
    optimizer.step()
    assert optimizer.param_groups[0]["lr"] == 0.07


def test_scheduler_made_after_an_edit_begins_with_the_edited_rate(open_live: OpenLive) -> None:
    live = open_live({1: {"optim": {"lr": 0.2}}, 3: {"optim": {"lr": 0.4}}}, optim=OPTIM)
    optimizer = torch.optim.SGD(weights(), lr=0.1)
    binding = live.bind(optimizer, lr="optim.lr")
    live.step()
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    used = []
    for _ in range(3):
        used += binding.lr
        optimizer.step()
        scheduler.step()
        live.step()
    used += binding.lr
    assert used == pytest.approx([0.2, 0.1, 0.1, 0.05])


def test_step_that_raises_leaves_the_rate_as_it_was(open_live: OpenLive) -> None:
    live = open_live({1: {"optim": {"lr": 0.2}}}, optim=OPTIM)
    weight = weights()[0]
    optimizer = torch.optim.SGD([weight], lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    live.bind(optimizer, lr="optim.lr")
    live.step()

    def fail() -> None:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        optimizer.step(fail)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.2
    assert weight.tolist() == pytest.approx([0.8, 0.8])


def test_optimizer_can_be_copied_and_pickled_as_before(open_live: OpenLive) -> None:
    live = open_live(optim=OPTIM)
    optimizer = torch.optim.SGD(weights(), lr=0.1)
    live.bind(optimizer, lr="optim.lr")
    assert copy.deepcopy(optimizer).param_groups[0]["lr"] == 0.1
    assert set(optimizer.state_dict()["param_groups"][0]) == set(
        torch.optim.SGD(weights(), lr=0.1).state_dict()["param_groups"][0]
    )


def test_effective_rate_is_logged_when_it_changes(open_live: OpenLive, logged: Callable[[str], dict[int, Any]]) -> None:
    live = open_live({4: {"optim": {"lr": 0.05}}}, optim=OPTIM)
    optimizer = torch.optim.SGD(weights(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [5], gamma=0.1)
    live.bind(optimizer, lr="optim.lr")
    for _ in range(8):
        live.step()
        optimizer.step()
        scheduler.step()
    assert logged("lr") == pytest.approx({1: 0.1, 4: 0.05, 6: 0.005})


def test_rates_of_several_groups_have_names_of_their_own(
    open_live: OpenLive, logged: Callable[[str], dict[int, Any]]
) -> None:
    live = open_live(optim=OPTIM)
    first, second = weights(2)
    optimizer = torch.optim.SGD([{"params": [first]}, {"params": [second], "lr": 0.01}], lr=0.1)
    live.bind(optimizer, lr="optim.lr", log="lr_discriminator")
    live.step()
    optimizer.step()
    assert logged("lr_discriminator/0") == {1: 0.1}
    assert logged("lr_discriminator/1") == {1: 0.01}


def test_rate_is_not_logged_when_that_is_switched_off(
    open_live: OpenLive, logged: Callable[[str], dict[int, Any]]
) -> None:
    live = open_live(optim=OPTIM)
    optimizer = torch.optim.SGD(weights(), lr=0.1)
    live.bind(optimizer, lr="optim.lr", log=None)
    live.step()
    optimizer.step()
    assert logged("lr") == {}


def train(live: Any, steps: int, state: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
    """Train until a step under a cosine; go on from `state`, return the weights and what goes on from there."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(0.2), torch.nn.Linear(3, 1)).double()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=30, eta_min=0.001)
    live.bind(optimizer, lr="optim.lr", weight_decay="optim.wd", scheduler=scheduler)
    live.bind(model, "1.p", "drop")
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        live.load_state_dict(state["live"])
    while live.step_number < steps:
        step = live.step()
        data = torch.linspace(-1, 1, 32, dtype=torch.float64).reshape(8, 4) * (1 + step % 3)
        optimizer.zero_grad()
        ((model(data) - data.sum(1, keepdim=True)) ** 2).mean().backward()
        optimizer.step()
        scheduler.step()
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    state = copy.deepcopy({name: part.state_dict() for name, part in parts.items()})
    return state["model"], {**state, "live": live.state_dict(rng=True)}


def test_resumed_run_ends_with_the_weights_of_one_that_was_not_stopped(open_live: OpenLive, tmp_path: Path) -> None:
    edits: dict[int, dict[str, Any]] = {
        4: {"optim": {"lr": 0.03}, "drop": 0.5},
        9: {"optim": {"wd": 0.1}},
        15: {"optim": {"lr": 0.06}},
    }
    entries: dict[str, Any] = {"optim": OPTIM, "drop": 0.2}
    whole, _ = train(open_live(edits, at=tmp_path / "whole", **entries), 20)
    killed = open_live(edits, **entries)
    _, state = train(killed, 7)
    for _ in range(4):  # what the checkpoint does not have is done again
        killed.step()
    resumed, _ = train(open_live(edits, **entries), 20, state)
    assert {name: value.tolist() for name, value in resumed.items()} == {
        name: value.tolist() for name, value in whole.items()
    }


def test_resumed_run_logs_its_rates_at_the_steps_of_one_that_was_not_stopped(
    open_live: OpenLive, logged: Callable[[str], dict[int, Any]]
) -> None:
    edits: dict[int, dict[str, Any]] = {3: {"optim": {"lr": 0.05}}, 9: {"optim": {"lr": 0.1}}}

    def run_on(live: Any, last: int, goes_on_after: int | None = None) -> None:
        optimizer = torch.optim.SGD(weights(), lr=0.1)
        live.bind(optimizer, lr="optim.lr")
        if goes_on_after is not None:
            live.resume(goes_on_after)
        while live.step_number < last:
            live.step()
            optimizer.step()

    run_on(open_live(edits, optim=OPTIM), 7)
    run_on(open_live(edits, optim=OPTIM), 11, goes_on_after=5)
    assert logged("lr") == {1: 0.1, 3: 0.05, 9: 0.1}


def test_scheduler_of_the_task_itself_is_scaled_too(open_live: OpenLive) -> None:
    live = open_live({3: {"optim": {"lr": 0.2}}}, optim=OPTIM)
    optimizer = torch.optim.SGD(weights(), lr=0.1)
    scheduler = Warmup(optimizer)
    binding = live.bind(optimizer, lr="optim.lr")
    used = []
    for _ in range(5):
        live.step()
        used += binding.lr
        optimizer.step()
        scheduler.step()
    assert used == pytest.approx([0.025, 0.05, 0.15, 0.2, 0.2])


def test_run_without_edits_trains_as_an_optimizer_that_is_not_bound(open_live: OpenLive, run: RunDir) -> None:
    live = open_live(optim=OPTIM)
    bound, free = weights(2)
    optimizers = [torch.optim.Adam([each], lr=0.1) for each in (bound, free)]
    live.bind(optimizers[0], lr="optim.lr", betas="optim.betas")
    for _ in range(5):
        live.step()
        for optimizer in optimizers:
            optimizer.step()
    assert bound.tolist() == free.tolist()
    assert run.changelog.exists()
