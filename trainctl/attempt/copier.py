"""Copies what a run prints to its log file and to its terminal, where a progress bar stays below it.

Run as a script: `copier.py LOG SOURCE:TARGET …`. All arguments are inherited file descriptors; LOG is -1 where there is
no log. Standard library only, and no import of trainctl: it starts at once.

The bar comes within what is printed, as a control sequence (`BAR`), so that its place among the lines is known. It is
wiped before anything else is written and painted again once that has ended its line: no output of a child, of C code
or of another library's bar is ever glued to it.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import time

BAR, END = b"\x1b]trainctl-bar;", b"\x07"  # in between stands `+` and the text, or `=` and the text that is to stay
MOST_BAR = 2000  # bytes: longer ones are not bars

_WIPE = b"\r\x1b[K"
_WIPED = re.compile(rb"\r\x1b\[[02]?K|\x1b\[2K")
_COLOUR = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]")
_PATIENCE_S = 1.0  # a line that is not ended by then is, on the terminal


class Below:
    """Keeps a bar on the last line of a terminal.

    Args:
        target: the terminal's file descriptor.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._bar = ""
        self._is_shown = False
        self._open = b""  # the line that is not ended yet, as far as it can be seen
        self._printed = 0.0
        self._kept = b""

    def feed(self, data: bytes) -> bytes:
        """Show the output, and return it without the bars."""
        data, self._kept = self._kept + data, b""
        printed = b""
        while (start := data.find(BAR)) >= 0:
            end = data.find(END, start)
            if end < 0 and len(data) - start < MOST_BAR:
                break
            printed += self._print(data[:start])
            if end < 0:
                data = data[start + len(BAR) :]
                continue
            self._follow(data[start + len(BAR) : end].decode(errors="replace"))
            data = data[end + len(END) :]
        rest = start if start >= 0 else len(data) - _begun(data)
        self._kept = data[rest:]
        return printed + self._print(data[:rest])

    def close(self) -> bytes:
        """Show what was held back, and leave the bar on a line of its own."""
        rest = self._print(self._kept)
        if self._is_shown:
            write(self._target, b"\n")
        return rest

    def _print(self, data: bytes) -> bytes:
        if data:
            before = _WIPE if self._is_shown else b""
            self._is_shown = False
            self._printed = time.monotonic()
            self._open = _visible(self._open + data)
            write(self._target, before + data + (self._painted() if not self._open else b""))
        return data

    def _follow(self, bar: str) -> None:
        kind, text = bar[:1], bar[1:]
        break_line = b"\n" if self._open and (kind == "=" or time.monotonic() - self._printed > _PATIENCE_S) else b""
        if break_line:
            self._open = b""
        if kind == "=":
            self._bar = ""
            write(self._target, break_line + _WIPE + self._cut(text) + b"\n")
            self._is_shown = False
        else:
            self._bar = text
            if not self._open:
                write(self._target, break_line + self._painted())

    def _painted(self) -> bytes:
        self._is_shown = bool(self._bar)
        return _WIPE + self._cut(self._bar) if self._bar else b""

    def _cut(self, text: str) -> bytes:
        columns = 0
        with contextlib.suppress(OSError):
            columns = os.get_terminal_size(self._target).columns
        return text[: max(0, (columns or 80) - 1)].encode()


def _begun(data: bytes) -> int:
    """Return how many bytes at the end may be the start of a bar's control sequence."""
    return next((size for size in range(min(len(BAR) - 1, len(data)), 0, -1) if data.endswith(BAR[:size])), 0)


def _visible(data: bytes) -> bytes:
    r"""Return the visible part of the last line; empty if the next text begins a new line.

    >>> [_visible(data) for data in (b"one\ntwo", b"one\n\x1b[0m", b"\r50%\r   \r", b"50%\r", b"a\r\x1b[K")]
    [b'two', b'', b'', b'50%', b'']
    """
    line = _COLOUR.sub(b"", _WIPED.split(data.rpartition(b"\n")[2])[-1])
    written = [part for part in line.split(b"\r") if part]
    return written[-1][-MOST_BAR:] if written and written[-1].strip() else b""


def copy(log: int, pairs: dict[int, int]) -> None:
    """Copy each source to the log and to its target until all are closed; a dead target or log is passed over."""
    poll = select.poll()
    below = {source: Below(target) for source, target in pairs.items() if os.isatty(target)}
    for source in pairs:
        poll.register(source, select.POLLIN)
    while pairs:
        for source, _ in poll.poll():
            try:
                data = os.read(source, 1 << 16)
            except OSError:  # a pseudo terminal whose last writer is gone
                data = b""
            if not data:
                poll.unregister(source)
                del pairs[source]
                write(log, below[source].close() if source in below else b"")
            elif source in below:
                write(log, below[source].feed(data))
            else:
                for target in (log, pairs[source]):
                    write(target, data)


def write(target: int, data: bytes) -> None:
    """Write all of it if possible; a full disk or a closed terminal must not stop the other copy."""
    try:
        while data:
            data = data[os.write(target, data) :]
    except OSError:
        return


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)  # meant for the run; the copier ends when the run has closed its side
    copy(
        int(sys.argv[1]),
        {int(source): int(target) for source, target in (pair.split(":") for pair in sys.argv[2:])},
    )
