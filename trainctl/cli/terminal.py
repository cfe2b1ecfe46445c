"""Output to the terminal, text from files as data, never as markup; tables that fit it, piped ones with all columns."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trainctl.errors import TrainctlError
from trainctl.text import clean, clean_lines, padded

__all__ = [
    "Column",
    "clean",
    "clean_lines",
    "complain",
    "console",
    "errors_as_sentences",
    "fit",
    "is_terminal",
    "note",
    "print_grid",
    "print_json",
    "print_line",
]


@functools.cache
def console() -> Console:
    """Return the console of standard output; colours only on a terminal, and no markup, emoji codes or highlighting."""
    return Console(markup=False, emoji=False, highlight=False)


def is_terminal() -> bool:
    """Whether the output goes to a terminal; if it is piped, it must be complete and plain."""
    return console().is_terminal


def print_line(line: str | Text = "", *, style: str = "") -> None:
    """Print one line, cleaned; what is longer than the terminal is wrapped by the terminal, so it can be copied."""
    console().print(clean(line) if isinstance(line, str) else line, style=style or None, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one JSON document in ASCII; NaN and infinities, which JSON does not know, as text."""
    sys.stdout.write(json.dumps(_json_value(value), indent=2, default=str) + "\n")


def complain(sentence: str) -> int:
    """Print one sentence on standard error and return the exit code that goes with it."""
    note(sentence, style="red")
    return 1


def note(sentence: str, *, style: str = "") -> None:
    """Print one sentence that is not the output itself, on standard error."""
    stderr = Console(stderr=True, markup=False, emoji=False, highlight=False)
    stderr.print(Text(clean(sentence)), style=style or None, soft_wrap=True)


@contextlib.contextmanager
def errors_as_sentences() -> Iterator[None]:
    """End the program with one sentence and code 1 where a request is refused or a system call fails."""
    try:
        yield
    except TrainctlError as error:
        sys.exit(complain(str(error)))
    except OSError as error:
        subject = f"{error.filename}: " if error.filename else ""
        sys.exit(complain(f"{subject}{error.strerror or error}"))


def _json_value(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _json_value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(inner) for inner in value]
    return value


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
        object.__setattr__(self, "title", clean(self.title))
        object.__setattr__(self, "cells", [clean(cell) for cell in self.cells])

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
    if is_terminal():
        fitting = fit(columns, console().width)
        console().print(_table(fitting))
        missing = [column.title for column in columns if column not in fitting and not column.is_empty]
        if missing:
            more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
            note(f"no room for {', '.join(missing[:_MOST_NAMED])}{more}; piped, all is there", style="dim")
    elif has_tabs:
        for row in zip(*((column.title, *column.cells) for column in columns), strict=True):
            sys.stdout.write("\t".join(row) + "\n")
    else:
        for line in _plain_lines(columns):
            print_line(line)


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
