"""Writing files atomically and without following links, and reading untrusted files.

A run dir may be on a shared disk: its files are read only here, regular files only, without following links or waiting,
and bounded in bytes and depth. Whatever is wrong with a file becomes `UnreadableError`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from trainctl.config import yaml
from trainctl.config.yaml import MAX_DEPTH, is_deep, read_document
from trainctl.errors import UnreadableError

MOST_BYTES = 16 * 2**20  # of a YAML file
MOST_SMALL = 2**20  # of one that every look at a table reads
_BUFFER = io.DEFAULT_BUFFER_SIZE  # given: else Python asks of each file whether it is a terminal
MOST_CHANGELOG = 64 * 2**20  # some 500,000 edits
MOST_LINE = 16 * 2**20  # of a file of lines, which itself may be as long as it likes

_BLOCK = 1 << 20
_PAGE = 4096  # bytes that a file system gives to a file at least
_NOT_REGULAR = "not a regular file"
_LEFTOVER = re.compile(r"\.(.+)\.[0-9]+\.tmp")


def write_atomic(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace a file's content: temporary file, fsync, rename, fsync of the directory. On an error the old one stays.

    Without `durable` nothing is synced: every process sees the old or the new file, but a power failure may lose the
    new one.

    Raises:
        OSError: the disk is full, the directory is gone or not writable.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # a name that `leftover_of` knows
    try:
        descriptor = open_to_write(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
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
    """Return which file a temporary file of `write_atomic` belongs to; None for any other file name.

    >>> leftover_of(".run.yaml.4242.tmp"), leftover_of("run.yaml"), leftover_of(".notes.tmp")
    ('run.yaml', None, None)
    """
    match = _LEFTOVER.fullmatch(name)
    return match[1] if match else None


def sync_directory(path: Path) -> None:
    """Sync the entries of a directory; a file system that does not support it is ignored."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def encoded(text: str) -> bytes:
    r"""Encode as UTF-8; lone surrogates, as in odd file names, become escapes such as `\udcff`."""
    return text.encode(errors="backslashreplace")


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte: one `os.write` may take only a part of them."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def open_to_write(path: Path, flags: int) -> int:
    """Open a regular file, created with mode 0600, without following links and without waiting for a pipe.

    Raises:
        UnreadableError: it is something else. OSError: it cannot be opened.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise unreadable(path, _why(error)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise unreadable(path, _NOT_REGULAR)
    os.set_blocking(descriptor, True)
    return descriptor


def write_yaml(path: Path, value: Any, *, durable: bool = True, needs_no_room: bool = False) -> None:
    """Write one YAML document, atomically; see `write_atomic`.

    With `needs_no_room`, on a full disk, the old content is overwritten in place if it is large enough.
    """
    try:
        text = yaml.dumps(value)
    except UnicodeEncodeError:  # such as a file name that is not UTF-8, in an error message
        text = yaml.dumps(_as_unicode(value))
    try:
        write_atomic(path, text, durable=durable)
    except OSError as error:
        if not (needs_no_room and error.errno in (errno.ENOSPC, errno.EDQUOT) and _overwrite(path, encoded(text))):
            raise


def _overwrite(path: Path, data: bytes) -> bool:
    """Overwrite a small file in place, in one write; return whether that was possible."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or not found.st_size or len(data) > max(found.st_size, _PAGE):
            return False  # where the file has no page on disk yet
        data = data.ljust(found.st_size, b"\n")  # padded, not truncated: no reader may see the two texts mixed
        written = os.pwrite(descriptor, data, 0)
        os.fsync(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return written == len(data)


def _as_unicode(value: Any) -> Any:
    if isinstance(value, str):
        return encoded(value).decode()
    if isinstance(value, Mapping):
        return {_as_unicode(key): _as_unicode(inner) for key, inner in value.items()}
    return [_as_unicode(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, without following links and without waiting for a pipe.

    Raises:
        FileNotFoundError: nothing is there. UnreadableError: it may not be read, or is something else.
    """
    return os.fdopen(_opened(path)[0], "rb", _BUFFER)


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Read a regular file of at most `most` bytes.

    Raises:
        FileNotFoundError: nothing is there. UnreadableError: it is longer, may not be read, or is something else.
    """
    descriptor, size = _opened(path)
    try:
        if size > most:
            raise unreadable(path, f"it is longer than {most / 2**20:g} MiB")
        data = os.read(descriptor, size + 1)
        while len(data) < size and (more := os.read(descriptor, size - len(data))):
            data += more
    except UnreadableError:
        raise
    except OSError as error:
        raise unreadable(path, _why(error)) from error
    finally:
        os.close(descriptor)
    return data


def read_blocks(path: Path) -> Iterator[bytes]:
    """Yield a file of lines, however long, in blocks of whole lines; the last one may lack its line break.

    Raises:
        FileNotFoundError: nothing is there. UnreadableError: a line is longer than `MOST_LINE`, or it cannot be read.
    """
    with open_regular(path) as file:
        rest: list[bytes] = []
        length = 0
        while True:
            try:
                block = file.read(_BLOCK)
            except OSError as error:
                raise unreadable(path, _why(error)) from error
            if not block:
                break
            whole, end, torn = block.rpartition(b"\n")
            if end:
                yield b"".join([*rest, whole, end])
                rest, length = [], 0
            rest.append(torn)
            length += len(torn)
            if length > MOST_LINE:
                raise unreadable(path, f"a line is longer than {MOST_LINE / 2**20:g} MiB")
        if length:
            yield b"".join(rest)


def unreadable(path: Path, why: str) -> UnreadableError:
    """Return the error for a file that cannot be read."""
    error = UnreadableError(f"{path}: {why}")
    error.why = why
    return error


def _opened(path: Path) -> tuple[int, int]:
    """Open a regular file for reading; return its descriptor and size."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(path, _why(error)) from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise unreadable(path, _NOT_REGULAR)
    return descriptor, found.st_size


def _why(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "it is a link, which is not followed"
    return _NOT_REGULAR if error.errno == errno.ENXIO else f"not readable: {error.strerror or error}"


def read_yaml(path: Path, most: int = MOST_BYTES) -> Any:
    """Read one YAML document without aliases, nested at most `MAX_DEPTH` deep; None when the file is not there.

    Raises:
        UnreadableError: it is there, and it cannot be read or is something else.
    """
    try:
        data = read_bytes(path, most)
    except FileNotFoundError:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise unreadable(path, "it is not YAML (it is not UTF-8 text)") from error
    return read_document(text, lambda why: unreadable(path, why))


def read_mapping(path: Path, problems: list[str] | None = None, *, most: int = MOST_BYTES) -> dict[str, Any]:
    """Read an optional YAML mapping: empty if the file is missing or holds something else.

    Why an existing file gives nothing is added to `problems`, in one sentence.
    """
    try:
        value = read_yaml(path, most)
    except UnreadableError as error:
        why = error.why
    else:
        if isinstance(value, dict):
            return value
        why = "it holds no mapping"
        if problems is None or (value is None and not os.path.lexists(path)):
            return {}
    if problems is not None:
        problems.append(f"{path.name}: {why}")
    return {}


_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


def json_line(record: Mapping[str, Any]) -> str:
    """Write one record as one line of JSON; types that JSON does not have become text, also `"nan"` and `"inf"`."""
    line = _encode(record)
    if "NaN" in line or "Infinity" in line:
        line = _encode(_without_nan(record))
    return line + "\n"


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    return [_without_nan(inner) for inner in value] if isinstance(value, list | tuple) else value


def append_lines(path: Path, records: Iterable[Mapping[str, Any]], *, durable: bool = False) -> None:
    """Append records as JSON lines in one write; a torn line left by a crash is ended first.

    With `durable` the call returns only when the lines are on disk.
    """
    data = encoded("".join(json_line(record) for record in records))
    descriptor = open_to_write(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
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
    """Yield the records of JSON lines; torn, foreign or deeply nested lines are skipped."""
    for line in data.split(b"\n"):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and not is_deep_json(line, record):
            yield record


def parse_together(data: bytes) -> list[dict[str, Any]]:
    """Parse JSON lines in one call, five times as fast as line by line; one by one when a line is torn or foreign."""
    try:
        records: list[Any] = json.loads(b"[" + data.strip().replace(b"\n", b",") + b"]")
    except (ValueError, RecursionError):
        return list(parse_lines(data))
    return [record for record in records if isinstance(record, dict)]


def is_deep_json(data: bytes, value: Any) -> bool:
    """Whether a value read from JSON is nested more than `MAX_DEPTH` deep; fast if there are few brackets."""
    return data.count(b"[") + data.count(b"{") > MAX_DEPTH and is_deep(value)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read all records of a JSON-lines file; empty when it is not there.

    Raises:
        UnreadableError: it is there and cannot be read.
    """
    try:
        return [record for block in read_blocks(path) for record in parse_lines(block)]
    except FileNotFoundError:
        return []
