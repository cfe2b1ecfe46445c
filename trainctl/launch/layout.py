"""What fits into a line of the live display: pure text, no terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

GAP = 2
_CUT = "..."
_BETWEEN = " " * GAP


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the display.

    Attributes:
        rank: a low one is placed before a high one; 0 always is.
        least: cells that it must have; None: as many as its widest cell.
        is_right: numbers end at the right.
        cut: what a text that is too long loses: its end, its middle, or whole parts from the end.
    """

    title: str
    rank: int
    least: int | None = None
    is_right: bool = False
    cut: str = "end"


COLUMNS = (
    Column("slot", 0, least=10),
    Column("job", 5, is_right=True),
    Column("run", 0, least=16, cut="middle"),
    Column("time", 1, is_right=True),
    Column("step", 2, is_right=True),
    Column("rate", 4, is_right=True),
    Column("memory", 6, is_right=True),
    Column("metrics", 3, least=14, cut="parts"),
)


def fit(natural: Mapping[str, int], width: int) -> dict[str, int]:
    """Return the columns that fit into `width`, in order, and how wide each is.

    Columns come in by rank while their least width fits; what is left goes first to the names, then to the metrics.

    Args:
        natural: the widest cell of each column; 0 leaves a column out.
        width: of the line.

    >>> fit({"slot": 3, "run": 30, "time": 5, "step": 9, "metrics": 40}, 60)
    {'slot': 3, 'run': 21, 'time': 5, 'step': 9, 'metrics': 14}
    """
    present = [column for column in COLUMNS if natural.get(column.title)]
    least = {
        column.title: natural[column.title] if column.least is None else min(column.least, natural[column.title])
        for column in present
    }
    left, chosen = width + GAP, set()
    for column in sorted(present, key=lambda column: column.rank):
        if column.rank == 0 or least[column.title] + GAP <= left:
            chosen.add(column.title)
            left -= least[column.title] + GAP
    widths = {column.title: least[column.title] for column in present if column.title in chosen}
    for title in ("run", "metrics", "slot"):
        if title in widths and left > 0:
            more = min(left, natural[title] - widths[title])
            widths[title] += more
            left -= more
    return widths


def line(cells: Mapping[str, str], widths: Mapping[str, int]) -> str:
    """Return one row: each cell cut and padded to its column's width."""
    parts = []
    for column in COLUMNS:
        if column.title in widths:
            width = widths[column.title]
            text = shorten(cells.get(column.title, ""), width, column.cut)
            space = " " * (width - cell_len(text))
            parts.append(space + text if column.is_right else text + space)
    return _BETWEEN.join(parts).rstrip()


def shorten(text: str, width: int, cut: str = "end") -> str:
    """Cut a text down to `width` cells: at its `end` or in its `middle`, where dots tell so, or by whole `parts`.

    >>> shorten("Norm_new-Lr_0.1", 12), shorten("Norm_new-Lr_0.1", 12, "middle"), shorten("abc", 2)
    ('Norm_new-...', 'Norm_..._0.1', 'ab')
    >>> shorten("loss 0.1  accuracy 0.975", 20, "parts")
    'loss 0.1'
    """
    if cell_len(text) <= width:
        return text
    if width <= len(_CUT) + 1:
        return set_cell_size(text, width).rstrip()
    if cut == "parts" and cell_len(text.partition(_BETWEEN)[0]) <= width:
        while cell_len(text) > width:
            text = text.rpartition(_BETWEEN)[0]
        return text
    if cut != "middle":
        return set_cell_size(text, width - len(_CUT)) + _CUT
    head = (width - len(_CUT) + 1) // 2
    return set_cell_size(text, head) + _CUT + _end(text, width - len(_CUT) - head)


def _end(text: str, width: int) -> str:
    """Return as much of the end of a text as fits into `width` cells."""
    start = len(text)
    while start > 0 and cell_len(text[start - 1 :]) <= width:
        start -= 1
    return text[start:]


def naturals(rows: Sequence[Mapping[str, str]]) -> dict[str, int]:
    """Return how wide each column would have to be to show everything; 0 for one without content."""
    widths = {}
    for column in COLUMNS:
        longest = max((cell_len(row.get(column.title, "")) for row in rows), default=0)
        widths[column.title] = max(longest, len(column.title)) if longest else 0
    return widths
