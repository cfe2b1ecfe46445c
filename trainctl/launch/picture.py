"""What the live display shows at one moment, as lines of text that fit a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from trainctl.launch.layout import GAP, fit, line, naturals, shorten

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

    @property
    def ended(self) -> int:
        return min(self.total, self.done + self.failed + self.skipped)


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
    good = min(width - failed, (sums.done + sums.skipped) * width // total)
    return Text.assemble((full * good, "green"), (full * failed, "red"), (empty * (width - good - failed), "dim"))
