"""An edit of the learning rate under every scheduler of PyTorch, against curves computed by hand."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import OmegaConf

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from curves import BASES, CASES, STEPS  # noqa: E402

from trainctl.frameworks.torch import bind  # noqa: E402
from trainctl.session.values import Now, build  # noqa: E402

EDITS = {2: 0.03, 11: 0.2, 15: 0.1}  # the key's value from these steps on; before it is 0.1, to which it comes back


def now(rate: float) -> Now:
    return build(OmegaConf.create({"optim": {"lr": rate}}))


def value_at(step: int) -> float:
    return next((value for start, value in reversed(EDITS.items()) if step >= start), 0.1)


class Training:
    """Two parameters that each move by exactly their learning rate at a step."""

    def __init__(self, *, tensors: bool) -> None:
        self.parameters = [torch.zeros(1, dtype=torch.float64, requires_grad=True) for _ in BASES]
        rates = [torch.tensor(base, dtype=torch.float64) for base in BASES] if tensors else BASES
        groups = [{"params": [each], "lr": rate} for each, rate in zip(self.parameters, rates, strict=True)]
        self.optimizer = torch.optim.SGD(groups, lr=0.1, foreach=False)

    def moved(self) -> list[float]:
        """Take one step and return how far each parameter moved."""
        for each in self.parameters:
            each.data.zero_()
            each.grad = -torch.ones_like(each)
        self.optimizer.step()
        return [float(each.detach()) for each in self.parameters]


def used_rates(name: str, mode: str, *, tensors: bool) -> list[list[float]]:
    case, training = CASES[name], Training(tensors=tensors)
    scheduler = case.make(training.optimizer)
    options = {"lr": "optim.lr", "mode": mode, "scheduler": scheduler}
    binding = bind(training.optimizer, (), options, now=now(0.1), log=lambda values: None)
    rates = []
    for step in range(STEPS):
        if step in EDITS:
            binding(now(EDITS[step]))
        rates.append(training.moved())
        read = [float(group["lr"]) for group in training.optimizer.param_groups]
        assert rates[-1] == binding.lr == read  # whoever reads it sees what is used
        if step > 0:  # a scheduler that waits for a plateau tells no rate before its first step
            assert [float(rate) for rate in scheduler.get_last_lr()] == read
        if step < STEPS - 1:
            case.step(scheduler)
    return rates


@pytest.mark.parametrize("tensors", [False, True], ids=["floats", "tensors"])
@pytest.mark.parametrize("name", CASES)
class TestCurve:
    def test_scale_multiplies_the_schedule(self, name: str, tensors: bool) -> None:
        rates = used_rates(name, "scale", tensors=tensors)
        for step, used in enumerate(rates):
            planned = [CASES[name].rate(base, step) for base in BASES]
            assert used == pytest.approx([rate * value_at(step) / 0.1 for rate in planned], rel=1e-7)

    def test_pin_is_the_rate_until_the_first_value_gives_it_back(self, name: str, tensors: bool) -> None:
        rates = used_rates(name, "pin", tensors=tensors)
        for step, used in enumerate(rates):
            pinned = [value_at(step), value_at(step) / 10]
            planned = [CASES[name].rate(base, step) for base in BASES]
            assert used == pytest.approx(planned if value_at(step) == 0.1 else pinned, rel=1e-7)

    def test_base_is_the_schedule_of_an_optimizer_that_began_so(self, name: str, tensors: bool) -> None:
        if name == "ReduceLROnPlateau":
            pytest.skip("what it has reduced depends on its floor, see the test below")
        rates = used_rates(name, "base", tensors=tensors)
        for step, used in enumerate(rates):
            bases = [base * value_at(step) / 0.1 for base in BASES]
            assert used == pytest.approx([CASES[name].rate(base, step) for base in bases], rel=1e-7)


def test_base_goes_on_from_the_reduced_rate_on_a_plateau() -> None:
    rates = [used[0] for used in used_rates("ReduceLROnPlateau", "base", tensors=False)]
    halved = [0.03 * 0.5**times for times in (1, 2, 3, 4, 5)]  # from step 2 on, when it was reduced once
    assert rates[:9] == pytest.approx([0.1, 0.1, *halved, 5e-4, 5e-4], rel=1e-7)  # the last two are the floor
    raised = 5e-4 * 0.2 / 0.03
    assert rates[10:13] == pytest.approx([5e-4, raised, raised / 2], rel=1e-7)


def with_added_group(name: str, *, tensors: bool, mode: str | None) -> list[list[float]]:
    """Return the rates of a training to which a group is added at step 4; None for the mode binds nothing."""
    case, training = CASES[name], Training(tensors=tensors)
    scheduler = case.make(training.optimizer)
    options = {"lr": "optim.lr", "mode": mode, "scheduler": scheduler}
    binding: Any = None
    if mode is not None:
        binding = bind(training.optimizer, (), options, now=now(0.1), log=lambda values: None)
    rates = []
    for step in range(STEPS):
        if step == 4:
            first = training.optimizer.param_groups[0]["lr"]
            training.parameters.append(torch.zeros(1, dtype=torch.float64, requires_grad=True))
            training.optimizer.add_param_group({"params": [training.parameters[-1]], "lr": first / 4})
            if name == "ReduceLROnPlateau":
                scheduler.min_lrs.append(5e-5)
        if step in EDITS and binding is not None:
            before = ratio(training)
            binding(now(EDITS[step]))
            assert mode == "pin" or step < 4 or ratio(training) == pytest.approx(before, rel=1e-9)
        rates.append(training.moved())
        if step < STEPS - 1:
            case.step(scheduler)
    return rates


def ratio(training: Training) -> float:
    groups = training.optimizer.param_groups
    return float(groups[-1]["lr"] / groups[0]["lr"])


@pytest.mark.parametrize("mode", ["scale", "pin", "base"])
@pytest.mark.parametrize("tensors", [False, True], ids=["floats", "tensors"])
@pytest.mark.parametrize("name", CASES)
def test_group_that_is_added_later_keeps_its_ratio(name: str, tensors: bool, mode: str) -> None:
    try:
        free = with_added_group(name, tensors=tensors, mode=None)
    except (KeyError, ValueError, IndexError) as error:
        with pytest.raises(type(error)):
            with_added_group(name, tensors=tensors, mode=mode)
        return  # PyTorch itself steps no group that this scheduler has not begun with
    rates = with_added_group(name, tensors=tensors, mode=mode)
    for step, (used, own) in enumerate(zip(rates, free, strict=True)):
        is_pinned = mode == "pin" and value_at(step) != 0.1
        if step >= 4 and mode != "base":  # with another floor PyTorch itself lets it drift otherwise
            assert used[-1] / used[0] == pytest.approx(0.25 if is_pinned else own[-1] / own[0], rel=1e-9)
    assert rates[4][-1] / rates[4][0] == pytest.approx(0.25)


class Foreign:
    """A scheduler that is none of PyTorch's: it sets the rates from those at the beginning, as timm's do."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer, self.times = optimizer, 0
        self.base = [group.setdefault("initial_lr", group["lr"]) for group in optimizer.param_groups]

    def step(self) -> None:
        self.times += 1
        for group, base in zip(self.optimizer.param_groups, self.base, strict=True):
            group["lr"] = base * 0.9**self.times


def test_rate_of_a_scheduler_that_is_not_pytorchs_is_the_one_that_is_used() -> None:
    training = Training(tensors=False)
    scheduler = Foreign(training.optimizer)
    binding = bind(training.optimizer, (), {"lr": "lr", "scheduler": scheduler}, now=rate_alone(0.1), log=log_nowhere)
    binding(rate_alone(0.2))
    for step in range(4):
        read = [group["lr"] for group in training.optimizer.param_groups]
        assert training.moved() == read == pytest.approx([2 * base * 0.9**step for base in BASES])
        scheduler.step()


def test_class_that_is_defined_after_the_binding_is_followed_too() -> None:
    training = Training(tensors=False)
    binding = bind(training.optimizer, (), {"lr": "lr"}, now=rate_alone(0.1), log=log_nowhere)

    class Late(torch.optim.lr_scheduler.LRScheduler):
        def step(self, epoch: int | None = None) -> None:
            for group in self.optimizer.param_groups:
                group["lr"] = group["lr"] * 0.5
            self.last_epoch += 1

    scheduler = Late(training.optimizer)
    binding(rate_alone(0.2))
    for step in range(4):
        assert training.moved() == pytest.approx([base * 0.5**step for base in BASES])
        scheduler.step()


def log_nowhere(values: Any) -> None:
    pass


def rate_alone(rate: float) -> Now:
    return build(OmegaConf.create({"lr": rate}))


def test_every_scheduler_of_pytorch_is_in_the_table() -> None:
    public = set(torch.optim.lr_scheduler.__all__) - {"LRScheduler"}
    assert public == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_schedule_is_bit_for_bit_that_of_an_optimizer_that_is_not_bound(name: str) -> None:
    case = CASES[name]
    bound, free = Training(tensors=False), Training(tensors=False)
    schedulers = [case.make(training.optimizer) for training in (bound, free)]
    binding = bind(
        bound.optimizer, (), {"lr": "optim.lr", "scheduler": schedulers[0]}, now=now(0.1), log=lambda values: None
    )
    for step in range(STEPS):
        binding(now(0.1))
        assert bound.moved() == free.moved()
        if step in (4, 9):  # an edit that is taken back leaves no trace
            binding(now(0.05))
            bound.moved()
            binding(now(0.1))
        if step < STEPS - 1:
            for scheduler in schedulers:
                case.step(scheduler)
        assert [group["lr"] for group in bound.optimizer.param_groups] == [
            group["lr"] for group in free.optimizer.param_groups
        ]


@pytest.mark.parametrize("mode", ["scale", "pin", "base"])
@pytest.mark.parametrize("tensors", [False, True], ids=["floats", "tensors"])
@pytest.mark.parametrize("name", CASES)
def test_checkpoint_of_an_edited_run_goes_on_as_the_run_did(name: str, tensors: bool, mode: str) -> None:
    case = CASES[name]

    def start() -> tuple[Training, Any, Any]:
        training = Training(tensors=tensors)
        scheduler = case.make(training.optimizer)
        options = {"lr": "optim.lr", "mode": mode, "scheduler": scheduler}
        return training, scheduler, bind(training.optimizer, (), options, now=now(0.1), log=lambda values: None)

    def train(training: Training, scheduler: Any, binding: Callable[[Now], None], steps: range) -> list[list[float]]:
        moved = []
        for step in steps:
            binding(now(value_at(step)))
            moved.append(training.moved())
            if step < STEPS - 1:
                case.step(scheduler)
        return moved

    whole = start()
    first = train(*whole, range(7))
    saved = whole[0].optimizer.state_dict(), whole[1].state_dict()
    saved = torch.utils._pytree.tree_map(lambda each: each.clone() if isinstance(each, torch.Tensor) else each, saved)
    rest = train(*whole, range(7, STEPS))
    resumed = start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resumed[0].optimizer.load_state_dict(saved[0])
        resumed[1].load_state_dict(saved[1])
    resumed[2](now(value_at(6)))  # what a resume does
    assert len(first) == 7
    assert train(*resumed, range(7, STEPS)) == rest
