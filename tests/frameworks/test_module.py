"""Attributes of modules and of other objects follow their keys."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from open_sessions import OpenLive

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from trainctl.errors import SettingError  # noqa: E402


class Noisy(torch.nn.Module):
    """Dropout whose probability is a plain attribute, and noise whose strength is a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.1))
        self.stages = [self.layers]
        self.weight = torch.nn.Parameter(torch.ones(2))
        self.register_buffer("strength", torch.tensor(1.0))

    def forward(self, data: Any) -> Any:
        return self.layers(data) * self.strength


def test_attribute_follows_its_key(open_live: OpenLive) -> None:
    live = open_live({2: {"p": 0.5}}, p=0.1)
    model = Noisy()
    live.bind(model, "layers.1.p", "p")
    seen = [(live.step(), model.layers[1].p) for _ in range(3)]
    assert seen == [(1, 0.1), (2, 0.5), (3, 0.5)]


def test_attribute_takes_the_value_that_the_config_has_when_it_is_bound(open_live: OpenLive) -> None:
    live = open_live(p=0.3)
    model = Noisy()
    live.bind(model.layers[1], "p", "p")
    assert model.layers[1].p == 0.3


def test_tensor_is_filled_in_place(open_live: OpenLive) -> None:
    live = open_live({1: {"strength": 0.25}}, strength=1.0)
    model = Noisy()
    buffer = model.strength
    live.bind(model, "strength", "strength")
    live.step()
    assert model.strength is buffer
    assert float(buffer) == 0.25


def test_attribute_of_any_object_follows_its_key(open_live: OpenLive) -> None:
    live = open_live({1: {"data": {"size": 64}}}, data={"size": 32})
    sampler = SimpleNamespace(inner=[SimpleNamespace(batch_size=32)])
    live.bind(sampler, "inner.0.batch_size", "data.size")
    live.step()
    assert sampler.inner[0].batch_size == 64


@pytest.mark.filterwarnings("ignore")  # PyTorch's own, about its parts
@pytest.mark.parametrize("way", ["returned", "in_place", "part"])
def test_compiled_module_is_warned_of_since_each_edit_compiles_it_anew(
    open_live: OpenLive, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    torch.compiler.reset()
    graphs: list[Any] = []

    def backend(graph: Any, inputs: list[Any]) -> Any:
        graphs.append(graph)
        return graph.forward

    model = Noisy()
    compiled, above = model, ""
    if way == "returned":
        compiled = torch.compile(model, backend=backend)
    else:
        model.compile(backend=backend)
    if way == "part":
        compiled, above = torch.nn.Sequential(model), "0."
    live = open_live({2: {"p": 0.5}, 3: {"strength": 0.5}, 4: {"strength": 0.25}}, p=0.1, strength=1.0)
    live.bind(compiled, f"{above}strength", "strength")
    assert caplog.messages == []
    live.bind(compiled, f"{above}layers.1.p", "p")
    assert "layers.1.p follows p, but is a Python attribute of a compiled module" in caplog.messages[-1]
    assert caplog.records[-1].levelno == logging.WARNING
    counts = []
    for _ in range(4):
        live.step()
        compiled(torch.ones(1, 2))
        counts.append(len(graphs))
    assert 0 < counts[0] < counts[1]
    assert counts[1:] == [counts[1]] * 3
    assert float(model.strength) == 0.25


@pytest.mark.filterwarnings("ignore")  # PyTorch's own, about its parts
def test_optimizer_step_that_is_compiled_uses_the_edited_rate(open_live: OpenLive) -> None:
    torch.compiler.reset()
    live = open_live({2: {"lr": 0.5}}, lr=0.1)
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], lr=torch.tensor(0.1, dtype=torch.float64), foreach=False)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    live.bind(optimizer, lr="lr", scheduler=scheduler, log=None)
    step = torch.compile(optimizer.step, backend="eager")
    moved = []
    for _ in range(4):
        live.step()
        before = float(weight.detach())
        weight.grad = -torch.ones_like(weight)
        step()
        moved.append(float(weight.detach()) - before)
        scheduler.step()
    assert moved == pytest.approx([0.1, 0.25, 0.5 / 3, 0.125])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (("layers.1.q", "p"), "'layers.1.q'.*Dropout has no 'q'"),
        (("layrs.1.p", "p"), "Noisy has no 'layrs'; close to it are layers"),
        (("layers.7.p", "p"), "Sequential has no '7'"),
        (("stages.0.1.p", "q"), "'q'.*the config has no value there; keys are p"),
        (("layers.1.p",), "is not complete; an attribute is bound by"),
        ((), "is not complete; an attribute is bound by"),
        (("weight", "p"), "a Parameter cannot follow a key; allowed are plain attributes"),
        (("layers.1", "p"), "a Dropout cannot follow a key"),
    ],
)
def test_attribute_that_is_not_there_or_cannot_follow_is_refused(
    open_live: OpenLive, path: tuple[str, ...], message: str
) -> None:
    live = open_live(p=0.1)
    with pytest.raises(SettingError, match=message):
        live.bind(Noisy(), *path)


def test_options_are_those_of_an_optimizer_alone(open_live: OpenLive) -> None:
    live = open_live(p=0.1)
    optimizer = torch.optim.SGD(Noisy().parameters(), lr=0.1)
    with pytest.raises(SettingError, match=r"Noisy, lr=.*only an optimizer has options to bind"):
        live.bind(Noisy(), lr="p")
    with pytest.raises(SettingError, match="SimpleNamespace has no options to bind"):
        live.bind(SimpleNamespace(), lr="p")
    with pytest.raises(SettingError, match="the options of an optimizer are bound by their names"):
        live.bind(optimizer, "lr", "p")
