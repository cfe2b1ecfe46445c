"""Metrics as cards: a plot each, with the lines of all runs that it is given, drawn by a component of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import panel
import param

from trainctl.panel.server._bokeh import tell

# one line: the run's number, its steps and values, and whether they go on after those that were sent before
Sent = tuple[int, Any, Any, bool]

NUMBERS = Path(__file__).with_name("numbers.js").read_text()  # stands before what draws axes

SETTINGS = ("smooth", "logx", "outliers", "log", "height", "filter")


class MetricCards(panel.custom.JSComponent):  # type: ignore[misc]  # Panel is untyped
    """Draws what it is sent. What a person does there is told to `on_told` as `{"kind": …}`.

    `ready`: nothing is shown yet. `visible`: the cards that are in sight, by `metrics`. `range`: the first and the last
    step that are wanted, or None. `settings`: those of `SETTINGS` that were changed. `by`: what colours are to tell.

    Attributes:
        settings: what is set at first.
        height_of_all: whether all cards are shown, however many; else they scroll.
    """

    settings = param.Dict({})
    height_of_all = param.Boolean(default=False)

    _esm = NUMBERS + Path(__file__).with_name("metric_card.js").read_text()

    def on_told(self, callback: Callable[[dict[str, Any]], None]) -> None:
        """Call a function with what the browser tells, as far as it is what it is to be."""

        def told(event: Any) -> None:
            if isinstance(event.data, dict) and isinstance(event.data.get("kind"), str):
                callback(event.data)

        self.on_msg(told)

    def send(
        self,
        *,
        lines: Iterable[tuple[str, Iterable[Sent]]] = (),
        bands: Iterable[tuple[str, Iterable[dict[str, Any]]]] = (),
        **parts: Any,
    ) -> None:
        """Show other things: `runs`, `metrics`, `keys`, `by`, `legend`, `chosen`, `note`, `empty`, lines and bands."""
        arrays: list[Any] = []

        def kept(values: Any) -> int:
            arrays.append(_packed(values))
            return len(arrays) - 1

        def numbered(part: Any) -> Any:
            return kept(part) if isinstance(part, np.ndarray) else part

        of_lines = [(name, [(run, kept(x), kept(y), more) for run, x, y, more in each]) for name, each in lines]
        of_bands = [
            (name, [{key: numbered(one) for key, one in band.items()} for band in each]) for name, each in bands
        ]
        tell(self, [json.dumps({**parts, "lines": of_lines, "bands": of_bands}), arrays])


def _packed(values: Any) -> Any:
    """Return numbers in four bytes each where that is the same on a screen, and exact for whole numbers."""
    array = np.asarray(values, np.float64)
    size = np.abs(array[np.isfinite(array) & (array != 0)])
    is_exact = not len(size) or (size.max() < 2**24 and size.min() > 1e-30)
    return array.astype(np.float32) if is_exact else array
