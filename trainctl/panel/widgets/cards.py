"""Cards over steps, drawn by the browser: a plot for each metric and, of one run, for each edited value."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import panel
import param

from trainctl.panel.pages.session import argument, names, read, remember, written
from trainctl.panel.server._bokeh import tell
from trainctl.rundir.fields import number

# one line: the run's number, its steps and values, and whether they go on after those that were sent before
Sent = tuple[int, Any, Any, bool]

NUMBERS = Path(__file__).with_name("numbers.js").read_text()  # stands before every script that draws axes

SMOOTH = 0.6  # at first: of noisy metrics the raw lines stay visible behind
SETTINGS = ("smooth", "logx", "outliers", "log", "height", "filter", "range")
IN_LINK = {"filter": "metrics", "range": "steps"}  # the others have the same name there


class Cards(panel.custom.JSComponent):  # type: ignore[misc]  # Panel is untyped
    """Draws what it is sent; see `cards.js`. What a person does there goes to `on_told` as `{"kind": …}`.

    `ready`: nothing is shown yet. `visible`: the cards of `metrics` that are in sight. `range`: the first and the last
    step to draw, or None. `settings`: those of `SETTINGS` that were changed. `by`: the key that decides the colours.
    `add`: a key whose value gets a card.

    Attributes:
        settings: the settings at first.
        is_one: whether the page is of one run: cards of values too, its edits behind the lines, a pointer on all cards.
        height_of_all: whether all cards are shown, however many; else they scroll.
    """

    settings = param.Dict({})
    is_one = param.Boolean(default=False)
    height_of_all = param.Boolean(default=False)

    _esm = NUMBERS + Path(__file__).with_name("cards.js").read_text()

    def on_told(self, callback: Callable[[dict[str, Any]], None]) -> None:
        """Call a function with each well-formed message of the browser."""

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
        """Show new lines and bands, and other `parts` in place of the ones before.

        Args:
            lines: by metric.
            bands: by metric.
            parts: `runs`, `metrics`, `keys`, `by`, `legend`, `chosen`, `note`, `empty`; of one run `values`, `ahead`,
                `now`, and `offer`, the keys that could have a card.
        """
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
    """Return numbers in four bytes each, if whole numbers stay exact and the rest looks the same on a screen."""
    array = np.asarray(values, np.float64)
    size = np.abs(array[np.isfinite(array) & (array != 0)])
    is_exact = not len(size) or (size.max() < 2**24 and size.min() > 1e-30)
    return array.astype(np.float32) if is_exact else array


def settings_of_link() -> dict[str, Any]:
    """Return the settings of the cards from the page's address."""
    found: dict[str, Any] = {"log": names("log"), "filter": argument("metrics"), "range": range_of(names("steps"))}
    for name, default, most in (
        ("smooth", SMOOTH, 0.99),
        ("height", 0, 5000),
        ("logx", False, True),
        ("outliers", False, True),
    ):
        with contextlib.suppress(ValueError):
            found[name] = min(max(read(argument(name), default), type(default)(0)), most) if argument(name) else default
    return found


def remember_settings(changed: Mapping[str, Any]) -> None:
    """Write changed settings into the page's address; defaults are left out."""
    kept = {IN_LINK.get(name, name): value for name, value in changed.items() if name in SETTINGS}
    first: dict[str, Any] = {"smooth": SMOOTH}
    remember(
        **{
            name: None if value is None or value == first.get(name, type(value)()) else written(value)[:500]
            for name, value in kept.items()
        }
    )


def range_of(given: object) -> tuple[float, float] | None:
    """Return two numbers in order; None for anything else that a browser or a link may say."""
    if not isinstance(given, list) or len(given) != 2:
        return None
    with contextlib.suppress(ValueError):
        first, last = (number(float(one) if isinstance(one, str) else one) for one in given)
        if first is not None and last is not None and -math.inf < first < last < math.inf:
            return float(first), float(last)
    return None
