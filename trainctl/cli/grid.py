"""Tables that fit the terminal: less important columns are left out and named; piped output has all columns."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from trainctl.cli import terminal
from trainctl.text import padded

GAP = 2
_MOST_NAMED = 3  # columns that have no room


@dataclass(frozen=True, slots=True)
class Column:
    """One column. A low `rank` is placed before a high one; rank 0 always is, folded down to `least` cells.

    Title and cells may be any text of a run's files: they are cleaned here, for every command.
    """

    title: str
    cells: Sequence[str]
    rank: int = 0
    is_right: bool = False
    styles: Sequence[str] = ()
    least: int = 30

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", terminal.clean(self.title))
        object.__setattr__(self, "cells", [terminal.clean(cell) for cell in self.cells])

    @property
    def width(self) -> int:
        return max(map(cell_len, (self.title, *self.cells)))

    @property
    def needed(self) -> int:
        """The width below which other columns are left out."""
        return self.width if self.rank else min(self.width, self.least)

    @property
    def is_empty(self) -> bool:
        return not any(self.cells)


def fit(columns: Sequence[Column], width: int) -> list[Column]:
    """Return all of rank 0, then by rank each that is not empty and still fits, in the order given."""
    kept = [column for column in columns if column.rank == 0]
    left = width + GAP - sum(column.needed + GAP for column in kept)
    for column in sorted(columns, key=lambda column: column.rank):
        if column.rank and not column.is_empty and column.needed + GAP <= left:
            kept.append(column)
            left -= column.needed + GAP
    return [column for column in columns if column in kept]


def print_grid(columns: Sequence[Column], *, has_tabs: bool = False) -> None:
    """Print the columns side by side; piped, as wide as they are, or with tabs between them for other programs."""
    if terminal.is_terminal():
        console = terminal.console()
        fitting = fit(columns, console.width)
        console.print(_table(fitting))
        missing = [column.title for column in columns if column not in fitting and not column.is_empty]
        if missing:
            more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
            terminal.note(f"no room for {', '.join(missing[:_MOST_NAMED])}{more}; piped, all is there", style="dim")
    elif has_tabs:
        for row in zip(*((column.title, *column.cells) for column in columns), strict=True):
            sys.stdout.write("\t".join(row) + "\n")
    else:
        for line in _plain_lines(columns):
            terminal.print_line(line)


def _table(columns: Sequence[Column]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(
            Text(column.title),
            justify="right" if column.is_right else "left",
            no_wrap=column.rank > 0,
            overflow="fold",
            min_width=column.needed,
        )
    for number in range(len(columns[0].cells)):
        table.add_row(
            *(Text(column.cells[number], column.styles[number] if column.styles else "") for column in columns)
        )
    return table


def _plain_lines(columns: Sequence[Column]) -> list[str]:
    return ["".join(row).rstrip() for row in zip(*map(_padded, columns), strict=True)]


def _padded(column: Column) -> list[str]:
    """Return title and cells, all of one width."""
    width = column.width
    return [padded(cell, width, is_right=column.is_right) + " " * GAP for cell in (column.title, *column.cells)]
