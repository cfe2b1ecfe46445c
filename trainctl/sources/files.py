"""Configs in files: YAML, JSON, .ini and gin, and the record that trainctl has stored with a run on a server."""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainctl.config import changelog
from trainctl.config.loaded import Form, Loaded
from trainctl.config.values import literal
from trainctl.config.yaml import MAX_DEPTH, read_document
from trainctl.errors import ChangelogError, SourceError, UnreadableError
from trainctl.formats.gin import read_gin
from trainctl.formats.ini import read_ini
from trainctl.rundir import files
from trainctl.rundir.provenance import original_cwd
from trainctl.text import clean

CONFIG = "trainctl/config.yaml"
CHANGELOG = "trainctl/changelog.yaml"
FILES = (CHANGELOG, CONFIG)
log = logging.getLogger(__name__)


def read_file(source: str, kind: str) -> Loaded:
    """Read the file that `KIND/PATH` names; YAML and gin are a person's own config, with interpolations if they like.

    Raises:
        SourceError: it is not there, too large, or not of that kind.
    """
    path = original_cwd() / Path(source.partition("/")[2]).expanduser()
    text = read_text(Path(os.path.realpath(path)), source)  # a person's own file may be named by a link
    if kind == "ini":
        ini = read_ini(text, f"+from={source}")
        return Loaded(source, str(path), literal(ini.values), form="plain", help=ini.help)
    parse, form, is_own = _PARSERS[kind]
    return Loaded(source, str(path), parse(text, f"+from={source}"), form=form, is_own=is_own)


def read_text(path: Path, source: str) -> str:
    """Read a text file as a run's are read: a regular file of bounded size, no link.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        return files.read_bytes(path).decode()
    except FileNotFoundError:
        raise SourceError(f"+from={source}: there is no file {str(path)!r}") from None
    except UnreadableError as error:
        raise SourceError(f"+from={source}: {str(path)!r} cannot be read ({error.why})") from error
    except UnicodeDecodeError:
        raise SourceError(f"+from={source}: {str(path)!r} is not UTF-8 text") from None


def unread(source: str, what: str, error: Exception) -> SourceError:
    """Return the error for a server that has not given what was asked of it."""
    said = error.strerror or error if isinstance(error, OSError) else error
    reason = " ".join(str(said).split()) or type(error).__name__
    return SourceError(f"+from={source}: {what}, nothing was loaded: {clean(textwrap.shorten(reason, 300))}")


def parse_yaml(text: str, asked: str, *, aliases: bool = True) -> dict[Any, Any]:
    """Read a YAML config; an empty one says nothing.

    Args:
        text: of the file.
        asked: who wants it, for the sentence of an error.
        aliases: allow `*name`, by which a short text can stand for an endless value.

    Raises:
        SourceError: it is not YAML, not a mapping, or has a defaults list.
    """

    def error(reason: str) -> SourceError:
        return SourceError(f"{asked} is not a YAML config: {reason}")

    content = read_document(text, error, aliases=aliases)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise error("it must be a mapping of keys to values")
    if "defaults" in content:
        raise error("it has a defaults list, which only Hydra follows; give the composed config of a run")
    return content


def _parse_json(text: str, asked: str) -> dict[Any, Any]:
    try:
        content = json.loads(text)
        values: dict[Any, Any] = literal(content)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise SourceError(f"{asked}, {where}: not JSON: {error.msg[0].lower()}{error.msg[1:]}") from error
    except RecursionError:
        raise SourceError(f"{asked} is nested more than {MAX_DEPTH} deep, which is not a config") from None
    except ValueError as error:  # Python reads no whole number of more digits
        raise SourceError(f"{asked} has a whole number of too many digits") from error
    if not isinstance(content, dict):
        raise SourceError(f"{asked} is not a JSON config: it must be a mapping of keys to values")
    return values


_PARSERS: dict[str, tuple[Callable[[str, str], dict[Any, Any]], Form, bool]] = {
    "gin": (read_gin, "plain", True),
    "json": (_parse_json, "plain", False),
    "yaml": (parse_yaml, "exact", True),
}


def read_record(source: str, origin: str, texts: Mapping[str, str]) -> Loaded | None:
    """Return the stored config with all its types: after the last recorded edit, else as it was at the start.

    Args:
        source: as the user wrote it.
        origin: where it was found.
        texts: the texts of the stored files, by name; without any, None is returned.

    Raises:
        SourceError: a file is not valid.
    """
    if CHANGELOG in texts:
        try:
            log = changelog.loads(texts[CHANGELOG], f"+from={source}: {CHANGELOG}")
        except ChangelogError as error:
            raise SourceError(str(error)) from error
        return Loaded(source, origin, log.at(log.last_step), is_record=True)
    if CONFIG in texts:
        values = parse_yaml(texts[CONFIG], f"+from={source}: {CONFIG}", aliases=False)
        return Loaded(source, origin, values, is_record=True)
    return None


@functools.cache  # Hydra composes a config several times
def announce(sentence: str) -> None:
    """Log a sentence, once per process; on standard error where no logging is set up yet, as in a Hydra app."""
    sentence = clean(sentence)
    if log.isEnabledFor(logging.INFO) and log.hasHandlers():
        log.info("%s", sentence)
    else:
        sys.stderr.write(f"{sentence}\n")
