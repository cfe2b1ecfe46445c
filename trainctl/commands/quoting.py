"""Values in the text of a shell command: outside quotes by `shlex.quote`, or as text inside double quotes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from trainctl.errors import CommandError

# What may stand before a value beside plain words: ${NAME} and $(…) of nothing but plain words
_EXPANSION = r"\$\{\w+\}|\$\((?:(?!\bcase\b)[\w ./:=,+@%|-])*\)"
_OUTSIDE = re.compile(
    rf"""(?P<comment>(?:\A|[ \t\n;&|()<>])(?:(?<=[ \t])\\\n)?\#[^\n]*)
    |(?P<word>'[^']*'|{_EXPANSION.replace(" ", "[ ]")}|\\[^\n]|\[[^\s'"`\\$#<>()\[\]]*\])
    |(?P<plain>(?<=[ \t])\\\n|<<<(?![<\#\\])|(?<![^\s;&|(])\[(?=[ \t]))
    |(?P<quote>")
    |(?P<refused>'|`|\$[(\[{{'"]|<<|\(\(|\[|\\)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_INSIDE = re.compile(
    rf"""(?P<word>{_EXPANSION}|\\[^\n])|(?P<quote>")|(?P<refused>`|\$[(\[{{]|\\)|(?P<other>.)""", re.DOTALL
)
_IN_DOUBLE = re.compile(r'([\\"$`])')
_KEYWORD = re.compile(
    r"if|then|elif|else|fi|for|while|until|do|done|case|esac|in|select|function|time|coproc|[A-Za-z_]\w*\+?=.*",
    re.DOTALL,
)
_WORD_ENDS = frozenset(" \t\n;&|()<>")


class ShellText:
    """The text of a command, put together from the template's own text and from values.

    A value stands outside quotes or inside double quotes. Where the shell reads in any other way, or this class cannot
    tell how it reads, values are refused; that depends on the template alone, never on a value.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._shown: list[str] = []
        self._template = ""  # an x for each value
        self._is_after_number = False

    def __str__(self) -> str:
        return "".join(self._parts)

    @property
    def shown(self) -> str:
        """The text as people may see it."""
        return "".join(self._shown)

    def write(self, text: str) -> None:
        """Add text of the template, as it is."""
        if self._is_after_number and text[:1] in ("<", ">"):  # `2>x` is a file descriptor, `2''>x` is a word
            self._parts.append("''")
        self._is_after_number = False
        self._parts.append(text)
        self._shown.append(text)
        self._template += text

    def write_words(self, words: Sequence[str], source: str, shown: Sequence[str] | None = None) -> None:
        """Add words that are data; inside double quotes they are one, with a space between each two.

        Args:
            words: for the shell.
            source: where they come from, for an error.
            shown: what people may see of them; all when None.

        Raises:
            CommandError: a value cannot stand here.
        """
        is_quoted = self.is_quoted(source)
        if any("\0" in word for word in words):
            raise CommandError(f"{source} has a NUL character, which no command can be given")
        if words:
            self._parts.append(_quoted(words, is_quoted))
            self._shown.append(_quoted(words if shown is None else shown, is_quoted))
            self._is_after_number = not is_quoted and words[-1].isdigit()
            self._template += "x"

    def is_quoted(self, source: str) -> bool:
        """Whether a value would stand inside double quotes here.

        Raises:
            CommandError: no value can stand here.
        """
        text, word, position, is_quoted = self._template, "", 0, False
        while position < len(text):
            found = (_INSIDE if is_quoted else _OUTSIDE).match(text, position)
            assert found is not None, "both patterns match any character"
            position, kind = found.end(), found.lastgroup
            if kind == "refused":
                raise _refused(source, _named(found[0], position == len(text)))
            if kind == "comment" and position == len(text):
                raise _refused(source, "in a comment")
            is_quoted ^= kind == "quote"
            is_between = kind in ("comment", "plain") or (found[0] in _WORD_ENDS and not is_quoted)
            word = "" if is_between else word + (found[0] if kind == "other" else "'")
        if re.search(r"\$\w*\Z", word):
            raise _refused(source, "right after $ or $NAME, which is written ${NAME} (\\${NAME} in a config)")
        if not is_quoted and ("{" in word or re.search(r"~[^/']*\Z", word)):
            raise _refused(source, "in a word with {…} or ~, which the shell expands")
        return is_quoted


def _named(text: str, is_last: bool) -> str:
    if text == "'":
        return "inside '…'"
    if text == "\\":
        return "right after a backslash" if is_last else "after a line that is broken inside a word"
    return f"inside or after {text}"


def _refused(source: str, where: str) -> CommandError:
    return CommandError(
        f"{source} cannot stand {where}: values stand outside quotes or inside double quotes; elsewhere let the "
        f'command begin with NAME=${{…}}; outside quotes, and write "$NAME" here'
    )


def _quoted(words: Sequence[str], is_quoted: bool) -> str:
    if is_quoted:
        return _IN_DOUBLE.sub(r"\\\1", " ".join(words))
    return " ".join(map(_word, words))


def _word(word: str) -> str:
    quoted = shlex.quote(word)  # leaves `if` and `X=1` as they are, special where a command begins
    return f"'{word}'" if quoted == word and _KEYWORD.fullmatch(word) else quoted
