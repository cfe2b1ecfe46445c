"""What cannot be bound is refused in one sentence, at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from open_sessions import OpenLive

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from curves import Warmup  # noqa: E402

from trainctl.errors import EditError, SettingError  # noqa: E402
from trainctl.rundir.events import answer  # noqa: E402
from trainctl.rundir.inbox import file_request  # noqa: E402
from trainctl.rundir.paths import RunDir  # noqa: E402

OPTIM = {"lr": 0.1, "wd": 0.01, "momentum": 0.9, "name": "adam"}


def weights() -> list[Any]:
    return [torch.nn.Parameter(torch.ones(2))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": "optim.lr"}, "learning_rate='optim.lr'.*options are .*lr.*weight_decay"),
        ({"lrr": "optim.lr"}, "'lr' is close to it"),
        ({"nesterov": "optim.momentum"}, "nesterov=.*options are"),
        ({"lr": 0.1}, "lr=0.1.*takes the key to follow"),
        ({"lr": "optim.rate"}, "'optim.rate'.*no value there; keys are optim.*"),
        ({"lr": "optim"}, "'optim'.*is a mapping"),
        ({"lr": "zero"}, "zero is 0 now"),
        ({"weight_decay": "zero"}, "zero is 0 now, and weight decays of"),
        ({"lr": "optim.lr", "mode": "multiply"}, "mode='multiply'.*allowed are base, pin, scale"),
        ({"lr": "optim.lr", "mode": "base"}, 'mode="base".*give it as scheduler='),
        ({"weight_decay": "optim.wd", "mode": "pin"}, "mode=.*give lr= as well"),
        ({}, "binds nothing; give options and keys"),
    ],
)
def test_binding_that_makes_no_sense_is_refused(open_live: OpenLive, options: dict[str, Any], message: str) -> None:
    live = open_live(optim=OPTIM, zero=0.0)
    optimizer = torch.optim.SGD(weights(), lr=0.1, weight_decay=0.01, momentum=0.9)
    with pytest.raises(SettingError, match=message):
        live.bind(optimizer, **options)


def test_value_that_is_no_number_is_refused_when_it_is_bound(open_live: OpenLive) -> None:
    live = open_live(optim=OPTIM)
    with pytest.raises(EditError, match=r"optim.name='adam' cannot be the lr of a SGD; allowed are finite numbers"):
        live.bind(torch.optim.SGD(weights(), lr=0.1), lr="optim.name")


@dataclass
class Either:
    lr: float | str = 0.1


def test_value_that_an_optimizer_or_a_tensor_cannot_take_is_refused_while_training_goes_on(
    open_live: OpenLive, run: RunDir
) -> None:
    live = open_live(either=Either(), noise=[1.0])
    optimizer, module = torch.optim.SGD(weights(), lr=0.1), torch.nn.Module()
    module.register_buffer("noise", torch.ones(1))
    live.bind(optimizer, lr="either.lr")
    live.bind(module, "noise", "noise")
    for edit, reason in (
        ({"either.lr": "auto"}, "either.lr='auto' cannot be the lr of a SGD; allowed are finite numbers"),
        ({"noise": "[[a]]"}, "the edit cannot be taken"),
        ({"noise": "[1, 2, 3]"}, "the edit cannot be taken"),
    ):
        request = file_request(run, edit, via="test")
        deadline = time.monotonic() + 60
        while answer(run, request) is None:
            assert time.monotonic() < deadline
            live.step()
        found = answer(run, request)
        assert found is not None
        assert reason in (found.reason or "")
    assert (optimizer.param_groups[0]["lr"], module.noise.tolist(), live.config.noise) == (0.1, [1.0], [1.0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda optimizer: Warmup(optimizer, -1), 'mode="base".* does not know Warmup; .*any scheduler goes'),
        (
            lambda optimizer: torch.optim.lr_scheduler.ChainedScheduler(
                [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10, eta_min=0.01)]
            ),
            "eta_min=0.01 in a ChainedScheduler",
        ),
    ],
)
def test_base_refuses_a_scheduler_whose_beginning_it_cannot_change(
    open_live: OpenLive, make: Callable[[Any], Any], message: str
) -> None:
    live = open_live(optim=OPTIM)
    optimizer = torch.optim.SGD(weights(), lr=0.1)
    with pytest.raises(SettingError, match=message):
        live.bind(optimizer, lr="optim.lr", mode="base", scheduler=make(optimizer))
