"""The commands of a config with their values filled in."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import (
    GrammarParseError,
    InterpolationKeyError,
    OmegaConfBaseException,
    UnsupportedInterpolationType,
)

from trainctl.commands.quoting import ShellText
from trainctl.config._omegaconf import MISSING
from trainctl.config.identity import OF_THE_MOMENT
from trainctl.config.keys import name_in, split
from trainctl.config.masking import MASK
from trainctl.config.settings_node import secrets_in
from trainctl.errors import CommandError

COMMANDS = "commands"

_MAX_DEPTH = 30  # of brackets: OmegaConf's grammar takes some twenty calls for each
_OF_THE_JOB = ("hydra", "trainctl")  # sections that are complete only when the job starts
_ABSENT, _UNKNOWN = object(), object()

_BUILT_IN = re.compile(r"\$\{\s*(flag|run_dir|run_name)\s*:\s*([^{}]*?)\s*\}")
_KEY = re.compile(r"[\w./@-]+")
_OPENING = re.compile(r"(\\*)\$\{")
_PATH = re.compile(  # ${key}, ${key.below}; no ${resolver:…}
    r"(?<!\\)\$\{\s*\[?([^\s.\[\]{}:$]+(?:\.[^\s.\[\]{}:$]+)*)(?=\s*[].$[}])(?=[^{}:$]*[}$])"
)
_WHOLE_PATH = re.compile(r"\$\{\s*([\w-]+(?:\.[\w-]+)*)\s*\}")
_RESOLVER = re.compile(r"\$\{\s*([A-Za-z_]\w*(?:\.\w+)*)\s*:")
_RUN = re.compile(r"(?<!\\)\$\{\s*(run_dir|run_name)\s*:\s*\}")


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

    def tell(self, kind: str) -> str:
        """Return what `${run_dir:}` or `${run_name:}` stands for."""
        return f"{{{kind}:}}" if self.path is None else {"run_dir": self.path, "run_name": self.name}[kind]


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command with its values: as the shell gets it, and as people may see it, secrets masked."""

    text: str
    shown: str


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
            if not isinstance(name, str):
                raise CommandError(f"{COMMANDS}.{name}: YAML does not read the name as text; write it in quotes")
            if not isinstance(text, str) or not text.strip() or "\0" in text:
                hint = "; write it in quotes" if isinstance(text, (bool, int, float)) else ""
                raise CommandError(f"{COMMANDS}.{name}={text!r} must be the text of a command{hint}")
            self.texts[name] = text
        self.masking = secrets_in(config)
        self._raw: Any = OmegaConf.to_container(config, resolve=False)
        self._configs: dict[Place, DictConfig] = {}
        self._flags = flags

    def line(self, name: str, place: Place) -> CommandLine:
        """Return a command as the shell gets it: every value quoted once.

        Raises:
            CommandError: a value is missing, cannot be given to a command, or stands where none can.
        """
        shell = ShellText()
        for piece in pieces(self.texts[name], f"{COMMANDS}.{name}"):
            if piece.is_interpolation:
                self._write(shell, name, piece.text, place)
            else:
                shell.write(piece.text)
        return CommandLine(str(shell), self.masking.text(shell.shown))

    def check(self, names: Iterable[str]) -> None:
        """Refuse a value, whatever it is, where none can stand in a command.

        Raises:
            CommandError: says which, and what to write instead.
        """
        for name in names:
            shell = ShellText()
            for piece in pieces(self.texts[name], f"{COMMANDS}.{name}"):
                if piece.is_interpolation:
                    _check(shell, piece.text, f"{COMMANDS}.{name}: {piece.text}")
                    shell.write_words(["x"], "")
                else:
                    shell.write(piece.text)

    def _write(self, shell: ShellText, name: str, text: str, place: Place) -> None:
        source = f"{COMMANDS}.{name}: {text}"
        _check(shell, text, source)
        built_in = _BUILT_IN.fullmatch(text)
        if built_in is not None and built_in[1] == "flag":
            found = [pair for key in _keys(built_in[2], source) for pair in self._flag(name, key, place, source)]
        elif built_in is not None:
            found = [(text if place.path is None else place.tell(built_in[1]),) * 2]
        elif place.path is None and OF_THE_MOMENT.search(text):
            found = [(text, text)]
        else:
            found = self._words(self._value(name, text, place), text, source)
        shell.write_words([word for word, _ in found], source, [shown for _, shown in found])

    def _flag(self, name: str, key: str, place: Place, source: str) -> list[tuple[str, str]]:
        value = self._value(name, f"${{{key}}}", place)
        written = {"dashes": key.replace("_", "-"), "underscores": key.replace("-", "_")}.get(self._flags, key)
        if value is None or value is False or (isinstance(value, ListConfig) and not len(value)):
            return []
        words = [] if value is True else self._words(value, key, source)
        return [(f"--{written}",) * 2, *words]

    def _words(self, value: Any, text: str, source: str) -> list[tuple[str, str]]:
        """Return a value as words, each with what people may see of it."""
        is_secret = any(self.masking.conceals(key, value) for key in _KEY.findall(text))
        return [(word, MASK if is_secret else self.masking.text(word)) for word in words_of(value, source)]

    def _value(self, name: str, text: str, place: Place) -> Any:
        """Return what an interpolation stands for, with its type, as seen from the command's own place."""
        if place not in self._configs:
            self._configs[place] = _at(place, self._raw)
        node = self._configs[place][COMMANDS]
        try:
            node[name] = text
            return node[name]
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0]
            is_unknown = isinstance(error, InterpolationKeyError | UnsupportedInterpolationType)
            hint = "; a `${` that is the shell's is written \\${" if is_unknown else ""
            raise CommandError(f"{COMMANDS}.{name}: {text} has no value: {reason}{hint}") from error

    def check_values(self, names: Iterable[str]) -> None:
        """Refuse what has no value, or one that no command can be given, as far as that is known before the job starts.

        Raises:
            CommandError: says which.
        """
        for name in names:
            for key in self._paths(self.texts[name]):
                parts = split(key)
                if parts[0] not in _OF_THE_JOB and _look_up(self._raw, parts) is _ABSENT:
                    raise CommandError(
                        f"{COMMANDS}.{name} refers to {key}, which the config does not have; "
                        "a `${` that is the shell's is written \\${"
                    )
            for piece in pieces(self.texts[name], f"{COMMANDS}.{name}"):
                if piece.is_interpolation:
                    self._check_value(piece.text, f"{COMMANDS}.{name}: {piece.text}")

    def _check_value(self, text: str, source: str) -> None:
        built_in, path, resolver = _BUILT_IN.fullmatch(text), _WHOLE_PATH.fullmatch(text), _RESOLVER.match(text)
        if built_in is not None:
            values = [self._literal(key) for key in _keys(built_in[2], source)] if built_in[1] == "flag" else []
            values = [value for value in values if value is not None]  # which leaves the flag out
        else:
            values = [self._literal(path[1])] if path is not None else []
            if resolver is not None and not OmegaConf.has_resolver(resolver[1]):
                raise CommandError(
                    f"{source} has no value: there is no resolver {resolver[1]!r}; "
                    "a `${` that is the shell's is written \\${"
                )
        for value in values:
            if value == MISSING:
                raise CommandError(f"{source} has no value: it is {MISSING} in the config; give it on the command line")
            if value is not _UNKNOWN:
                words_of(value, source)

    def _literal(self, key: str) -> Any:
        """Return the value of a key, by way of other keys too; `_UNKNOWN` if a resolver or the job has to tell it."""
        for _ in range(_MAX_DEPTH):
            parts = split(key)
            value = _ABSENT if parts[0] in _OF_THE_JOB else _look_up(self._raw, parts)
            if value is _ABSENT or not isinstance(value, str):
                return _UNKNOWN if value is _ABSENT else value
            path = _WHOLE_PATH.fullmatch(value)
            if path is None:
                return _UNKNOWN if "${" in value else value
            key = path[1]
        return _UNKNOWN

    def _paths(self, text: str) -> list[str]:
        """Return the dotted keys that the text of a command refers to, by way of other values too."""
        found = dict.fromkeys(_paths_in(text))
        left = list(found)
        while left:
            value = _look_up(self._raw, split(left.pop()))
            new = [key for key in (_paths_in(value) if isinstance(value, str) else ()) if key not in found]
            found |= dict.fromkeys(new)
            left += new
        return list(found)

    def unused(self, more: Iterable[str] = ()) -> list[str]:
        """List the top-level keys, and those of `more`, that no command uses, not by way of other values either."""
        values = {**dict.fromkeys(more), **self._raw}
        others = {str(key): value for key, value in values.items() if key not in (COMMANDS, "hydra", "trainctl")}
        used: set[str] = set()
        left = list(_keys_in(list(self.texts.values())))
        while left:
            key = left.pop()
            if key not in used:
                used.add(key)
                left += _keys_in(others.get(key))
        return sorted(others.keys() - used)


@lru_cache(maxsize=256)
def pieces(text: str, source: str) -> tuple[Piece, ...]:
    r"""Split a text at its interpolations; what is escaped (`\${HOME}`) is text. Jobs of a sweep share the result.

    >>> [piece.text for piece in pieces(r"a ${x} \${HOME}", "here")]
    ['a ', '${x}', ' ', '${', 'HOME}']
    """
    return tuple(_pieces(text, source))


def _pieces(text: str, source: str) -> Iterator[Piece]:
    error = _grammar_error(text)
    if error is not None:
        raise CommandError(f"{source} cannot be read: {error}; a `${{` that is the shell's is written \\${{")
    position = 0
    while (opening := _OPENING.search(text, position)) is not None:
        slashes, start = len(opening[1]), opening.end() - len("${")
        is_escaped = slashes % 2 == 1
        end = opening.end() if is_escaped else _end_of_interpolation(text, start)
        plain = text[position : opening.start() + slashes // 2]
        yield from [Piece(plain, False)] if plain else []
        yield Piece(text[start:end], not is_escaped)
        position = end
    yield from [Piece(text[position:], False)] if position < len(text) else []


def _end_of_interpolation(text: str, start: int) -> int:
    """Return where the interpolation that begins at `start` ends: at the first `}` that makes it a whole one."""
    ends = (found.end() for found in re.finditer("}", text) if found.start() > start)
    return next(end for end in ends if _grammar_error(text[start:end]) is None)


def _grammar_error(text: str) -> str | None:
    """Return what OmegaConf says of a text with interpolations that it cannot read."""
    if max(itertools.accumulate((each in "[{(") - (each in "]})") for each in text), default=0) > _MAX_DEPTH:
        return f"its brackets are nested more than {_MAX_DEPTH} deep"
    try:
        OmegaConf.create([text])
    except GrammarParseError as error:
        return str(error).splitlines()[0]
    return None


def _check(shell: ShellText, text: str, source: str) -> None:
    built_in = _BUILT_IN.fullmatch(text)
    if shell.is_quoted(source) and built_in is not None and built_in[1] == "flag":
        raise CommandError(f"{source} stands inside quotes; a flag is separate words, write it outside")


def _at(place: Place, raw: dict[Any, Any]) -> DictConfig:
    """Return a config whose values know the run dir; without one, those of the moment are their own text."""

    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: placed(each) for key, each in value.items()}
        if isinstance(value, list):
            return [placed(each) for each in value]
        if not isinstance(value, str):
            return value
        if place.path is None and OF_THE_MOMENT.search(value):
            return value.replace("${", "{")
        return _RUN.sub(lambda found: place.tell(found[1]).replace("${", "\\${"), value)

    return OmegaConf.create({key: placed(raw[key]) for key in raw if key != "hydra"}, flags={"allow_objects": True})


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
    kind = "mapping" if isinstance(value, (DictConfig, dict)) else type(value).__name__
    raise CommandError(f"{source} is a {kind}, which no command can be given; name a key below it")


def _keys(text: str, source: str) -> list[str]:
    keys = [key.strip() for key in text.split(",")]
    if not all(map(_KEY.fullmatch, keys)):
        raise CommandError(f"{source} must name a key of the config, or several: ${{flag:lr,momentum}}")
    return keys


def _paths_in(text: str) -> Iterator[str]:
    """Yield the dotted keys that a text refers to, each as far as it is written out."""
    for flag in _BUILT_IN.finditer(text):
        if flag[1] == "flag":
            yield from (key.strip() for key in flag[2].split(","))
    yield from _PATH.findall(text)


def _look_up(values: Any, parts: Sequence[str]) -> Any:
    """Return an entry of plain mappings; `_UNKNOWN` in a list or behind an interpolation; else `_ABSENT`."""
    for part in parts:
        if not isinstance(values, dict):
            return _UNKNOWN if isinstance(values, str | list) else _ABSENT
        values = values.get(name_in(values, part), _ABSENT)
    return values


def _keys_in(value: Any) -> Iterator[str]:
    """Yield the top-level keys that a value refers to, at any depth."""
    if isinstance(value, dict):
        for each in value.values():
            yield from _keys_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from _keys_in(each)
    elif isinstance(value, str) and "${" in value:
        yield from (re.split(r"[.\[]", path)[0] for path in _paths_in(value))
