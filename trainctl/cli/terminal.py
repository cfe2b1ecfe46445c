"""Output to the terminal: text from files is data, never markup and never a control sequence."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from trainctl.errors import TrainctlError
from trainctl.text import clean, clean_lines

__all__ = [
    "clean",
    "clean_lines",
    "complain",
    "console",
    "errors_as_sentences",
    "is_terminal",
    "note",
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
