"""Text as it may be shown on a terminal: what came from a file is data, never a control sequence."""

from __future__ import annotations

import re

_ESCAPE_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # OSC and other strings: titles, links
    r"|\x1b[ -/]*[0-~]?",
    re.DOTALL,
)


def clean(value: object) -> str:
    r"""Return text on one line without control characters; line breaks and tabs become spaces.

    >>> clean("a\x1b[31mred\x1b[0m\nb\u202e")
    'ared b'
    """
    text = str(value)
    if text.isprintable():
        return text
    text = _ESCAPE_SEQUENCE.sub("", text)
    return "".join(char for char in re.sub(r"[\n\r\t]+", " ", text) if char.isprintable())


def padded(cell: str, width: int, *, is_right: bool = False) -> str:
    """Return a text with as many spaces after it, or before it, as make it `width` places wide on a terminal.

    >>> padded("ab", 4), padded("ab", 4, is_right=True)
    ('ab  ', '  ab')
    """
    from rich.cells import cell_len  # only who prints a table pays for it

    spaces = " " * (width - cell_len(cell))
    return spaces + cell if is_right else cell + spaces


def clean_line(line: str) -> str:
    r"""Return a line of a log as a terminal would have left it: of what `\r` overwrote only the last stays.

    >>> clean_line("10 %\r99 %\r\n")
    '99 %'
    """
    return clean(line.rstrip("\r\n").rpartition("\r")[2].expandtabs(8))


def clean_lines(text: str, most: int) -> list[str]:
    r"""Return the last lines of a log, cleaned.

    >>> clean_lines("one\n10 %\r99 %\r\n\x1b[1mtwo\n", 2)
    ['99 %', 'two']
    """
    return [clean_line(line) for line in text.rstrip("\n").split("\n")[-most:]]
