"""A terminal in memory: as much of one as the live display uses."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Screen:
    """Lines, a cursor, automatic wrapping; lines that scroll out at the top are kept in `scrolled`."""

    def __init__(self, width: int = 80, height: int = 24) -> None:
        self.width = width
        self.height = height
        self.lines = [""]
        self.row = self.column = 0
        self.scrolled: list[str] = []
        self.is_cursor_shown = True

    def feed(self, text: str) -> None:
        place = 0
        while place < len(text):
            token = _TOKEN.match(text, place)
            assert token is not None, f"not understood: {text[place : place + 20]!r}"
            place = token.end()
            private, numbers, command, move, words = token.groups()
            if command:
                self._obey(private, numbers, command)
            elif move == "\r":
                self.column = 0
            elif move == "\n":
                self._go_down()
            else:
                for letter in words:
                    self._put(letter)

    def shown(self) -> list[str]:
        """Return all that is there, with what scrolled out, without blanks at the ends."""
        lines = [line.rstrip() for line in (*self.scrolled, *self.lines)]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def resize(self, width: int) -> None:
        """Become narrower as most terminals do: what does not fit a line any more goes on in the next."""
        self.width = width
        broken: list[str] = []
        for line in (line.rstrip() for line in self.lines[: self.row + 1]):
            broken += [line[start : start + width] for start in range(0, len(line), width)] or [""]
        self.lines = broken[-self.height :]
        self.scrolled += broken[: -self.height]
        self.row, self.column = len(self.lines) - 1, len(self.lines[-1])

    def _obey(self, private: str, numbers: str, command: str) -> None:
        if private:
            assert (numbers, command) in {("25", "h"), ("25", "l")}
            self.is_cursor_shown = command == "h"
        elif command == "A":
            self.row = max(0, self.row - int(numbers or 1))
        elif command == "K" and numbers in ("", "0"):
            self.lines[self.row] = self.lines[self.row][: self.column]
        elif command == "K":
            assert numbers == "2"
            self.lines[self.row] = ""
        else:
            assert command == "m", f"not understood: {command}"

    def _put(self, letter: str) -> None:
        assert letter.isprintable(), f"a control character came through: {letter!r}"
        if self.column == self.width:
            self._go_down()
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + letter + line[self.column + 1 :]
        self.column += 1

    def _go_down(self) -> None:
        self.column = 0
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")
        if len(self.lines) > self.height:
            self.scrolled.append(self.lines.pop(0))
            self.row -= 1
