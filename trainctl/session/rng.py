"""The global random states of `random`, NumPy and torch, as far as these are loaded; none is imported for this."""

from __future__ import annotations

import contextlib
import logging
import random
import sys
from collections.abc import Iterator, Mapping
from typing import Any

log = logging.getLogger(__name__)


def take() -> dict[str, Any]:
    """Return the global random states as plain lists and numbers, so that every checkpoint format can hold them.

    Generators that a task makes itself (`numpy.random.default_rng`, `torch.Generator`) are the task's to keep.
    """
    version, words, gauss = random.getstate()
    state: dict[str, Any] = {"random": [version, list(words), gauss]}
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        name, keys, place, has_gauss, cached = numpy.random.get_state()
        state["numpy"] = [str(name), keys.tolist(), int(place), int(has_gauss), float(cached)]
    if torch is not None:
        state["torch"] = torch.get_rng_state().tolist()
        if torch.cuda.is_initialized():
            state["cuda"] = [one.tolist() for one in torch.cuda.get_rng_state_all()]
    return state


def put_back(state: Mapping[str, Any]) -> None:
    """Restore the random states that `take` returned; warn of those whose library is not loaded here."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if "random" in state:
        version, words, gauss = state["random"]
        random.setstate((version, tuple(words), gauss))
    if "numpy" in state and numpy is not None:
        name, keys, *rest = state["numpy"]
        numpy.random.set_state((name, numpy.array(keys, dtype=numpy.uint32), *rest))
    if "torch" in state and torch is not None:
        torch.set_rng_state(torch.tensor(state["torch"], dtype=torch.uint8))
    if "cuda" in state and torch is not None and torch.cuda.is_available():
        states = [torch.tensor(one, dtype=torch.uint8) for one in state["cuda"][: torch.cuda.device_count()]]
        torch.cuda.set_rng_state_all(states)
    loaded = {"random": True, "numpy": numpy is not None, "torch": torch is not None, "cuda": torch is not None}
    lost = [name for name in state if not loaded.get(name)]
    if lost:
        log.warning("the random state of %s is not restored: import it before load_state_dict", " and ".join(lost))


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Restore the random states after the block, so that numbers drawn in it do not change the training."""
    before = take()
    try:
        yield
    finally:
        put_back(before)
