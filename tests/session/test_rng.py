from __future__ import annotations

import json
import random

import numpy as np
import pytest

from trainctl.session import rng


def drawn() -> list[float]:
    return [random.random(), random.gauss(0, 1), float(np.random.rand()), float(np.random.randn())]


def test_states_are_plain_and_bring_the_same_numbers_back() -> None:
    random.gauss(0, 1)
    np.random.randn()  # both keep the second one of a pair
    state = rng.take()
    assert json.loads(json.dumps(state)) == state
    expected = drawn()
    drawn()
    rng.put_back(json.loads(json.dumps(state)))
    assert drawn() == expected


def test_block_leaves_the_states_as_they_were_even_when_it_raises() -> None:
    state = rng.take()
    expected = drawn()
    rng.put_back(state)

    def draw_and_fail() -> None:
        with rng.kept():
            drawn()
            raise ValueError("inside")

    with pytest.raises(ValueError, match=r"^inside$"):
        draw_and_fail()
    assert drawn() == expected


def test_state_of_a_library_that_is_not_loaded_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    state = rng.take()
    monkeypatch.delitem(__import__("sys").modules, "numpy")
    rng.put_back(state)
    assert "the random state of numpy is not restored: import it before load_state_dict" in caplog.text


def test_states_of_torch_are_restored() -> None:
    torch = pytest.importorskip("torch")
    state = json.loads(json.dumps(rng.take()))
    expected = torch.rand(5).tolist()
    rng.put_back(state)
    assert torch.rand(5).tolist() == expected


@pytest.mark.gpu
def test_states_of_cuda_devices_are_restored() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    torch.rand(1, device="cuda")
    state = json.loads(json.dumps(rng.take()))
    expected = torch.rand(5, device="cuda").tolist()
    rng.put_back(state)
    assert torch.rand(5, device="cuda").tolist() == expected
