"""Values in the text of a shell command: each quoted once, for the place where it stands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from trainctl.errors import CommandError

_WORD_ENDS = frozenset(" \t\n;&|()")
_IN_DOUBLE = re.compile(r'([\\"$`])')
_CASE = re.compile(r"\bcase\b")
_NUMBER = re.compile(r"-?[0-9]+")
_ENDS = {"single": "'", "comment": "\n", "ansi": "'", "double": '"', "backtick": "`", "brace": "}"}
_CLOSED = {
    "ansi": "inside $'…'",
    "brace": "inside the shell's ${…}",
    "backtick": "inside `…`; write $(…)",
    "comment": "in a comment",
}


class ShellText:
    """Follows the text of a command, so that a value is quoted by the rules of the place where it stands.

    What the shell reads in a way that is not followed here (here-documents, backticks, `$'…'`, `case` within
    parentheses) takes no values: they are refused, never guessed.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._shown: list[str] = []
        self._places = ["bare"]  # also: single, double, sub, arithmetic, and those of _CLOSED
        self._is_escaped = False
        self._last = "\n"  # the last character, as far as it matters to the next one
        self._angles = 0
        self._has_heredoc = False
        self._is_lost = False

    def __str__(self) -> str:
        return "".join(self._parts)

    @property
    def shown(self) -> str:
        """The text as people may see it."""
        return "".join(self._shown)

    def write(self, text: str) -> None:
        """Add text of the template, as it is."""
        self._parts.append(text)
        self._shown.append(text)
        for character in text:
            self._read(character)

    def write_words(self, words: Sequence[str], source: str, shown: Sequence[str] | None = None) -> None:
        """Add words that are data; inside quotes they are one, with a space between each two.

        Args:
            words: for the shell.
            source: where they come from, for an error.
            shown: what people may see of them; all when None.

        Raises:
            CommandError: a value cannot stand here.
        """
        if not words:
            return
        shown = words if shown is None else shown
        place = self._places[-1]
        self._check(place, words, shown, source)
        self._parts.append(_quoted(words, place))
        self._shown.append(_quoted(shown, place))
        self._last, self._angles = "x", 0

    @property
    def is_quoted(self) -> bool:
        """Say whether the next text stands inside quotes."""
        return self._places[-1] in ("single", "double")

    def _check(self, place: str, words: Sequence[str], shown: Sequence[str], source: str) -> None:
        where = _CLOSED.get(place)
        if self._has_heredoc or self._angles == 2:
            where = "in or after a here-document (<<)"
        elif self._is_escaped:
            where = "right after a backslash"
        elif self._last == "$" and place != "single":
            where = "right after a dollar sign"
        elif place == "arithmetic" and not all(map(_NUMBER.fullmatch, words)):
            where = f"inside ((…)) as long as it is no whole number, and it is {shown[0]!r}"
        elif self._is_lost:
            where = "after quotes inside the shell's ${…}, or after $[…]"
        elif self._last == "[":
            where = "right after a bracket, which the shell may reckon with"
        elif "(" in str(self) and _CASE.search(str(self)):
            where = "after `case` together with parentheses"
        if where is not None:
            raise CommandError(f"{source} cannot stand {where}; put that part of the command into a script of its own")
        if any("\0" in word for word in words):
            raise CommandError(f"{source} has a NUL character, which no command can be given")

    def _read(self, character: str) -> None:
        if self._is_escaped:
            self._is_escaped, self._last = False, "x"
            return
        self._count_angles(character)
        place = self._places[-1]
        end = _ENDS.get(place)
        if character == end:
            self._places.pop()
        elif character == "\\" and place not in ("single", "comment"):
            self._is_escaped = True
        elif place == "double":
            self._read_double(character)
        elif place == "brace":
            self._read_brace(character)
        elif end is None:
            self._read_bare(character)
        self._last = character

    def _count_angles(self, character: str) -> None:
        if character == "<" and self._places[-1] in ("bare", "sub"):
            self._angles += 1
        else:
            self._has_heredoc = self._has_heredoc or self._angles == 2
            self._angles = 0

    def _read_double(self, character: str) -> None:
        if character == "`":
            self._places.append("backtick")
        elif self._last == "$" and character in "({":
            self._places.append("sub" if character == "(" else "brace")

    def _read_brace(self, character: str) -> None:
        if character == "{" and self._last == "$":
            self._places.append("brace")
        elif character in "'\"`(":
            self._is_lost = True  # where it ends depends on more than we follow

    def _read_bare(self, character: str) -> None:
        if character == "[" and self._last == "$":
            self._is_lost = True
        elif character == "'":
            self._places.append("ansi" if self._last == "$" else "single")
        elif character == '"':
            self._places.append("double")
        elif character == "`":
            self._places.append("backtick")
        elif character == "{" and self._last == "$":
            self._places.append("brace")
        elif character == "(":
            self._places.append("arithmetic" if self._last == "(" else "sub")
        elif character == ")" and self._places[-1] in ("sub", "arithmetic"):
            self._places.pop()
        elif character == "#" and self._last in _WORD_ENDS:
            self._places.append("comment")


def _quoted(words: Sequence[str], place: str) -> str:
    if place == "single":
        return " ".join(words).replace("'", "'\"'\"'")
    if place == "double":
        return _IN_DOUBLE.sub(r"\\\1", " ".join(words))
    return " ".join(map(shlex.quote, words))
