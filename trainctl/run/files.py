"""Writing and reading files so that nobody ever sees half of one."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml as pyyaml

from trainctl.config import yaml

_LEFTOVER = re.compile(r"\.(.+)\.[0-9]+\.tmp")


def write_atomic(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace a file's content: temporary file, fsync, rename, fsync of the directory. On an error the old one stays.

    Without `durable` nothing is synced: every process sees all of it or nothing, but a machine that loses its power
    may have lost it.

    Raises:
        OSError: the disk is full, the directory is gone or not writable.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # a name that `leftover_of` knows
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, encoded(text))
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if durable:
        sync_directory(path.parent)


def leftover_of(name: str) -> str | None:
    """Return which file a writer that was killed in `write_atomic` was writing; None for any other file's name.

    >>> leftover_of(".run.yaml.4242.tmp"), leftover_of("run.yaml"), leftover_of(".notes.tmp")
    ('run.yaml', None, None)
    """
    match = _LEFTOVER.fullmatch(name)
    return match[1] if match else None


def sync_directory(path: Path) -> None:
    """Make the renames and new names in a directory durable; a file system that cannot is left alone."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def encoded(text: str) -> bytes:
    r"""Encode as UTF-8; the parts of a file name that is none (lone surrogates) become escapes such as `\udcff`."""
    return text.encode(errors="backslashreplace")


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte: one `os.write` may take only a part of them."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_yaml(path: Path, value: Any, *, durable: bool = True) -> None:
    """Write one YAML document, atomically; see `write_atomic`."""
    try:
        text = yaml.dumps(value)
    except UnicodeEncodeError:  # a file name that is no UTF-8, in an error message, say
        text = yaml.dumps(_as_unicode(value))
    write_atomic(path, text, durable=durable)


def _as_unicode(value: Any) -> Any:
    if isinstance(value, str):
        return encoded(value).decode()
    if isinstance(value, Mapping):
        return {_as_unicode(key): _as_unicode(inner) for key, inner in value.items()}
    return [_as_unicode(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def read_yaml(path: Path) -> Any:
    """Read one YAML document; None when the file is not there.

    Raises:
        yaml.YAMLError: the file is not YAML. OSError: it is there and cannot be read.
    """
    try:
        return yaml.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML mapping that the reader can do without: empty when the file is missing or is not one."""
    try:
        value = read_yaml(path)
    except (OSError, pyyaml.YAMLError, TypeError, ValueError):  # a list for a key, a number that is too long
        return {}
    return value if isinstance(value, dict) else {}


_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


def json_line(record: Mapping[str, Any]) -> str:
    """Write one record as one line of JSON; what JSON does not know is written as text."""
    return _encode(record) + "\n"


def append_lines(path: Path, records: Iterable[Mapping[str, Any]], *, durable: bool = False) -> None:
    """Append records as JSON lines in one write; a torn line left by a crash is ended first.

    With `durable` the call returns only when the lines are on disk.
    """
    data = encoded("".join(json_line(record) for record in records))
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data
        write_all(descriptor, data)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def parse_lines(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the records of JSON lines; a torn or foreign line is passed over, never an error."""
    for line in data.split(b"\n"):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read all records of a JSON-lines file; empty when it is not there."""
    try:
        return list(parse_lines(path.read_bytes()))
    except FileNotFoundError:
        return []
