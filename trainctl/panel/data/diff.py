"""Where two runs differ: in their configs as they are now, and in what was edited when."""

from __future__ import annotations

from typing import Any

from trainctl.config import keys
from trainctl.config.values import is_same
from trainctl.panel.data.run_view import RunView
from trainctl.panel.html import html
from trainctl.text import one_line


def config_now(view: RunView) -> dict[str, Any]:
    """Return a run's config by dotted key, after its last edit; without the settings of trainctl."""
    log = view.changelog
    values = keys.leaves(log.at(log.last_step)) if log is not None else view.values
    return {key: value for key, value in values.items() if keys.split(key)[0] != "trainctl"}


def config_difference(one: RunView, other: RunView) -> list[tuple[str, str, str]]:
    """Return the keys whose values differ, with both as text; empty where a run has no such key."""
    left, right = config_now(one), config_now(other)
    return [
        (key, one_line(left[key]) if key in left else "", one_line(right[key]) if key in right else "")
        for key in dict.fromkeys([*left, *right])
        if not (key in left and key in right and is_same(left[key], right[key]))
    ]


def edit_difference(one: RunView, other: RunView) -> list[tuple[int, str, str, str]]:
    """Return what only one run changed, or both to other values: step, key, and the new value in each."""
    left, right = _edits(one), _edits(other)
    return [
        (step, key, _text(left, (step, key)), _text(right, (step, key)))
        for step, key in sorted({*left, *right})
        if not ((step, key) in left and (step, key) in right and is_same(left[step, key], right[step, key]))
    ]


def difference_table(rows: list[tuple[Any, ...]], heads: tuple[str, ...], same: str) -> str:
    """Write differences as an HTML table; `same` is the text when there are none."""
    if not rows:
        return f'<p class="dim">{html(same)}</p>'
    top = "".join(f"<th>{html(head)}</th>" for head in heads)
    body = "".join(
        "<tr>" + "".join(f'<td class="mono value">{html(cell)}</td>' for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll" tabindex="0"><table><tr>{top}</tr>{body}</table></div>'


def _edits(view: RunView) -> dict[tuple[int, str], Any]:
    edits = view.changelog.edits if view.changelog is not None else []
    return {(edit.step, key): value for edit in edits for key, value in edit.values.items()}


def _text(edits: dict[tuple[int, str], Any], place: tuple[int, str]) -> str:
    return one_line(edits[place]) if place in edits else ""
