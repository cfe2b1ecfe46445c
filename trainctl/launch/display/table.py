"""The content of the live display as lines of text that fit the terminal's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from trainctl.text import padded

GAP = 2
_CUT = "..."
_BETWEEN = " " * GAP


@dataclass(frozen=True, slots=True)
class LiveColumn:
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
    LiveColumn("slot", 0, least=10),
    LiveColumn("job", 5, is_right=True),
    LiveColumn("run", 0, least=16, cut="middle"),
    LiveColumn("time", 1, is_right=True),
    LiveColumn("step", 2, is_right=True),
    LiveColumn("rate", 4, is_right=True),
    LiveColumn("memory", 6, is_right=True),
    LiveColumn("metrics", 3, least=14, cut="parts"),
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
            parts.append(padded(text, width, is_right=column.is_right))
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


_LEAST_BAR, _MOST_BAR = 8, 40
_ECHO = 4  # at the end of the last line the terminal may echo a ^C, which must not make it two lines

Row = Mapping[str, str]  # cells by the title of their column; without a "job" the slot is idle


@dataclass(frozen=True, slots=True)
class Sums:
    """How many of the jobs ended how."""

    total: int
    done: int
    failed: int
    skipped: int
    stopped: int = 0

    @property
    def ended(self) -> int:
        return min(self.total, self.done + self.failed + self.skipped + self.stopped)


def draw(
    rows: Sequence[Row], sums: Sums, eta: str, size: tuple[int, int], widest: dict[str, int], *, is_ascii: bool = False
) -> list[Text]:
    """Return the lines: a row per slot, as many as the height allows, then the overall bar.

    One line of the terminal is left for what scrolls above.

    Args:
        rows: of all slots.
        sums: what the bar shows.
        eta: when the sweep will be over, empty when that is not known.
        size: columns and lines of the terminal.
        widest: columns of numbers never get narrower than they were, so that nothing jumps; it is updated.
        is_ascii: the terminal has no other characters.
    """
    width, height = size
    room = height - 3  # a heading, the bar, and a line for what scrolls
    shown, hidden = _choose(rows, room)
    lines = _table(shown, width, widest) if shown else []
    if hidden and shown:
        running = sum("job" in row for row in hidden)
        text = f"+ {running} more running" if running else f"+ {len(hidden)} more idle"
        lines.append(Text(shorten(text, width), "dim"))
    return [*lines, _overall(sums, eta, max(1, width - _ECHO), is_ascii)]


def _choose(rows: Sequence[Row], room: int) -> tuple[list[Row], list[Row]]:
    """Return the rows that are shown and the others: where not all fit, idle slots give way first."""
    if len(rows) <= room:
        return list(rows), []
    most = max(0, room - 1)  # one line says how many more there are
    by_need = sorted(range(len(rows)), key=lambda place: ("job" not in rows[place], place))
    places = set(by_need[:most])
    shown = [row for place, row in enumerate(rows) if place in places]
    return shown, [row for place, row in enumerate(rows) if place not in places]


def _table(rows: Sequence[Row], width: int, widest: dict[str, int]) -> list[Text]:
    natural = naturals(rows)
    for title in ("job", "time", "step", "rate", "memory"):
        if natural[title]:
            natural[title] = widest[title] = max(natural[title], widest.get(title, 0))
    widths = fit(natural, width)
    heading = Text(shorten(line({title: title for title in widths}, widths), width), "dim")
    return [heading, *(Text(shorten(line(row, widths), width), "" if "job" in row else "dim") for row in rows)]


def _overall(sums: Sums, eta: str, width: int, is_ascii: bool) -> Text:
    """Return the last line: a bar as far as there is room for one, then the sums, the most wanted first."""
    parts = [
        (f"{sums.ended}/{sums.total}", "bold"),
        (f"ETA {eta}" if eta else "", ""),
        (f"{sums.failed} failed" if sums.failed else "", "red"),
        (f"{sums.done} done" if sums.done else "", "green"),
        (f"{sums.stopped} stopped" if sums.stopped else "", "yellow"),
        (f"{sums.skipped} skipped" if sums.skipped else "", "dim"),
        (f"{sums.total - sums.ended} left", ""),
    ]
    words = Text(" " * GAP).join(Text(*part) for part in parts if part[0])
    room = min(_MOST_BAR, width - words.cell_len - GAP)
    if room >= _LEAST_BAR:
        words = Text.assemble(_bar(sums, room, is_ascii), " " * GAP, words)
    words.truncate(width)
    return words


def _bar(sums: Sums, width: int, is_ascii: bool) -> Text:
    """Return a bar of failed, done and skipped jobs; one that ended badly is always seen."""
    full, empty = ("#", ".") if is_ascii else ("━", "─")
    total = max(1, sums.total)
    failed = -(-sums.failed * width // total)
    good = min(width - failed, (sums.ended - sums.failed) * width // total)
    return Text.assemble((full * good, "green"), (full * failed, "red"), (empty * (width - good - failed), "dim"))
