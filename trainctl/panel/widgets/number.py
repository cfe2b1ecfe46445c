"""Beside a number's exact text: half and double for floats, one less and one more for ints, a slider between bounds."""

from __future__ import annotations

import math
from typing import Any

import panel_material_ui as pmui

from trainctl.config.controls import Key

POSITIONS = 200
WORDS = {"÷2": "halve", "×2": "double", "-": "lower", "+": "raise"}  # noqa: RUF001  # what the signs on the buttons say


def buttons_of(spec: Key) -> tuple[str, str] | None:
    """Return what stands on the two buttons of a number; None for keys that take none."""
    if spec.choices is not None or spec.locked is not None:
        return None
    return {"float": ("÷2", "×2"), "int": ("-", "+")}.get(spec.type)  # noqa: RUF001  # signs for people


def nudged(text: str, spec: Key, *, up: bool) -> str | None:
    """Return the text after a press of a button; None when it is not a number.

    >>> key = Key("int", step=4)
    >>> nudged("3e-4", Key("float"), up=True), nudged("8", key, up=False), nudged("x", key, up=True)
    ('0.0006', '4', None)
    """
    try:
        if spec.type == "int":
            step = max(1, int(spec.step or 1))
            return str(int(text) + (step if up else -step))
        value = float(text) * (2 if up else 0.5)
    except ValueError:
        return None
    return f"{value:.15g}" if math.isfinite(value) else None


def has_slider(spec: Key) -> bool:
    """Whether a key has a slider: a number between two bounds that can be changed."""
    bounded = spec.min is not None and spec.max is not None and spec.min < spec.max
    return bounded and spec.type in ("int", "float") and spec.choices is None and spec.locked is None


def is_log(spec: Key) -> bool:
    """Whether the slider runs in powers: asked for, and possible from its least value on."""
    return spec.log and spec.min is not None and spec.min > 0


def position(text: str, spec: Key) -> int:
    """Return where the slider stands for a text; at its start for what is not a number."""
    assert spec.min is not None
    assert spec.max is not None
    try:
        value = min(max(float(text), spec.min), spec.max)
    except ValueError:
        return 0
    if math.isnan(value):
        return 0
    low, high, at = (math.log(x) if is_log(spec) else x for x in (spec.min, spec.max, value))
    return round(POSITIONS * (at - low) / (high - low))


def text_at(place: float, spec: Key) -> str:
    """Return the text of a slider's position, in three digits, never outside the bounds.

    >>> key = Key("float", min=1e-6, max=1.0, log=True)
    >>> [text_at(place, key) for place in (0, 100, 200)], position("0.001", key)
    (['1e-06', '0.001', '1'], 100)
    >>> text_at(100, Key("int", min=0, max=9))
    '4'
    """
    assert spec.min is not None
    assert spec.max is not None
    share = min(max(place / POSITIONS, 0.0), 1.0)
    if is_log(spec):
        value = math.exp(math.log(spec.min) + share * (math.log(spec.max) - math.log(spec.min)))
    else:
        value = spec.min + share * (spec.max - spec.min)
    if spec.type == "int":
        return str(min(max(round(value), math.ceil(spec.min)), math.floor(spec.max)))
    rounded = float(f"{value:.3g}")
    return f"{rounded if spec.min <= rounded <= spec.max else value:.15g}"


def slider_of(name: str, text: str, spec: Key) -> Any:
    """Return the slider of a key; it runs over positions, since its own steps would not meet the values."""
    return pmui.FloatSlider(
        label=f"{name} slider",  # hidden: it is the name that is read aloud
        start=0,
        end=POSITIONS,
        step=1,
        value=position(text, spec),
        show_value=False,
        tooltips=False,
        size="small",
        sizing_mode="stretch_width",
        margin=(0, 14),
        sx={"& .MuiFormLabel-root": {"display": "none"}},
    )
