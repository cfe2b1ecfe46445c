"""The commands of a config with their values filled in, read by OmegaConf's own grammar."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, flag_override, grammar_parser
from omegaconf.errors import GrammarParseError, OmegaConfBaseException
from omegaconf.grammar_parser import parse

from trainctl.commands.quoting import ShellText
from trainctl.errors import CommandError

COMMANDS = "commands"

_Lexer: Any = vars(grammar_parser)["OmegaConfGrammarLexer"]  # made by ANTLR, without types
_Parser: Any = vars(grammar_parser)["OmegaConfGrammarParser"]

_OURS = re.compile(r"\$\{\s*(flag|run_dir|run_name)\s*:\s*([^{}]*?)\s*\}")
_KEY = re.compile(r"[\w./@-]+")
_OF_THE_MOMENT = re.compile(r"\$\{\s*((now|hydra)\s*[:.]|trainctl)")  # as `identity` has it


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a command's text: as it is, or an interpolation in its own words."""

    text: str
    is_interpolation: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command runs; without a path it is written in a way that is the same wherever that is, and whenever."""

    path: str | None = None
    name: str = ""


class Templates:
    """The commands of one config.

    Args:
        config: the task's config; it is not changed.
        flags: how keys are written as flags: `as_written`, `dashes`, `underscores`.
    """

    def __init__(self, config: DictConfig, flags: str = "as_written") -> None:
        node = OmegaConf.select(config, COMMANDS)
        if not isinstance(node, DictConfig) or not len(node):
            raise CommandError(
                f"the config has no commands; write `{COMMANDS}:` with at least one name and command line below it"
            )
        raw: Any = OmegaConf.to_container(node, resolve=False)
        self.texts: dict[str, str] = {}
        for name, text in raw.items():
            if not isinstance(name, str) or not isinstance(text, str) or not text.strip():
                raise CommandError(f"{COMMANDS}.{name}={text!r} must be the text of a command")
            self.texts[name] = text
        self._config = copy.deepcopy(config)
        self._lasting = _without_moment(config)
        self._flags = flags

    def line(self, name: str, place: Place) -> str:
        """Return a command as the shell gets it: every value quoted once.

        Raises:
            CommandError: a value is missing, is nothing that a command can be given, or stands where it cannot.
        """
        shell = ShellText()
        for piece in pieces(self.texts[name], f"{COMMANDS}.{name}"):
            if piece.is_interpolation:
                self._write(shell, name, piece.text, place)
            else:
                shell.write(piece.text)
        return str(shell)

    def _write(self, shell: ShellText, name: str, text: str, place: Place) -> None:
        source = f"{COMMANDS}.{name}: {text}"
        ours = _OURS.fullmatch(text)
        if ours is None:
            if place.path is None and _OF_THE_MOMENT.search(text):
                shell.write_words([text], source)
                return
            shell.write_words(words_of(self._value(name, text, place), source), source)
        elif ours[1] != "flag":
            known = place.path if ours[1] == "run_dir" else place.name
            shell.write_words([text if place.path is None else str(known)], source)
        else:
            words = [word for key in _keys(ours[2], source) for word in self._flag(name, key, place, source)]
            if words and shell.is_quoted:
                raise CommandError(f"{source} stands inside quotes; a flag is words of its own, write it outside")
            shell.write_words(words, source)

    def _flag(self, name: str, key: str, place: Place, source: str) -> list[str]:
        value = self._value(name, f"${{{key}}}", place)
        written = {"dashes": key.replace("_", "-"), "underscores": key.replace("-", "_")}.get(self._flags, key)
        if value is None or value is False or (isinstance(value, ListConfig) and not len(value)):
            return []
        return [f"--{written}", *([] if value is True else words_of(value, source))]

    def _value(self, name: str, text: str, place: Place) -> Any:
        """Return what an interpolation stands for, with its type, as seen from the command's own place."""
        node = (self._lasting if place.path is None else self._config)[COMMANDS]
        try:
            with flag_override(node, ["readonly", "struct"], False):
                node[name] = text
            return node[name]
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0]
            raise CommandError(f"{COMMANDS}.{name}: {text} has no value: {reason}") from error

    def unused(self) -> list[str]:
        """List the top-level keys that no command uses, not by way of other values either."""
        raw: Any = OmegaConf.to_container(self._config, resolve=False)
        others = {str(key): value for key, value in raw.items() if key not in (COMMANDS, "hydra", "trainctl")}
        used: set[str] = set()
        left = list(_keys_in(list(self.texts.values())))
        while left:
            key = left.pop()
            if key not in used:
                used.add(key)
                left += _keys_in(others.get(key))
        return sorted(others.keys() - used)


def pieces(text: str, source: str) -> Iterator[Piece]:
    r"""Split a text at its interpolations; what is escaped (`\${HOME}`) is text.

    >>> [piece.text for piece in pieces(r"a ${x} \${HOME}", "here")]
    ['a ', '${x}', ' ', '${', 'HOME}']
    """
    try:
        children = list(parse(text).getChild(0).getChildren())
    except GrammarParseError as error:
        raise CommandError(f"{source} cannot be read: {error}; a `${{` that is the shell's is written \\${{") from error
    for child, following in zip(children, [*children[1:], None], strict=True):
        if isinstance(child, _Parser.InterpolationContext):
            yield Piece(text[child.start.start : child.stop.stop + 1], True)
            continue
        symbol = child.symbol
        before_one = isinstance(following, _Parser.InterpolationContext)
        shown = symbol.text
        if symbol.type == _Lexer.ESC_INTER:
            shown = shown[-(len(shown) // 2 + 1) :]
        elif symbol.type == _Lexer.TOP_ESC and before_one:
            shown = shown[: len(shown) // 2]
        if shown != "<EOF>":
            yield Piece(shown, False)


def _without_moment(config: DictConfig) -> DictConfig:
    """Return a config in which values that tell when or where a job runs are their own text."""

    def fixed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: fixed(each) for key, each in value.items()}
        if isinstance(value, list):
            return [fixed(each) for each in value]
        is_of_moment = isinstance(value, str) and _OF_THE_MOMENT.search(value)
        return value.replace("${", "{") if is_of_moment else value

    raw: Any = OmegaConf.to_container(config, resolve=False)
    return OmegaConf.create({key: fixed(raw[key]) for key in raw if key != "hydra"}, flags={"allow_objects": True})


def words_of(value: Any, source: str) -> list[str]:
    """Return a value as words of a command: a list is as many, anything else is one.

    Raises:
        CommandError: it is null, a mapping, or a list of such.
    """
    if isinstance(value, (ListConfig, list, tuple)):
        return [word for each in value for word in words_of(each, source)]
    if value is None:
        raise CommandError(f"{source} is null, which no command can be given; ${{flag:…}} leaves it out")
    if isinstance(value, Enum):
        return [value.name]
    if isinstance(value, (str, bool, int, float, PurePath)):
        return [str(value)]
    raise CommandError(f"{source} is a {type(value).__name__}, which no command can be given; name a key below it")


def _keys(text: str, source: str) -> list[str]:
    keys = [key.strip() for key in text.split(",")]
    if not all(map(_KEY.fullmatch, keys)):
        raise CommandError(f"{source} must name a key of the config, or several: ${{flag:lr,momentum}}")
    return keys


def _keys_in(value: Any) -> Iterator[str]:
    """Yield the top-level keys that a value refers to, at any depth."""
    if isinstance(value, dict):
        for each in value.values():
            yield from _keys_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from _keys_in(each)
    elif isinstance(value, str) and "${" in value:
        for flag in _OURS.finditer(value):
            if flag[1] == "flag":
                yield from (re.split(r"[.\[]", key.strip())[0] for key in flag[2].split(","))
        try:
            yield from _nodes(parse(value))
        except GrammarParseError:
            return


def _nodes(tree: Any) -> Iterator[str]:
    if isinstance(tree, _Parser.InterpolationNodeContext):
        yield re.split(r"[.\[\]]", tree.getText()[2:-1].strip().lstrip("["))[0]
    for child in getattr(tree, "children", None) or ():
        yield from _nodes(child)
