"""One request to change keys of a running run, as it lies in the inbox."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainctl.config.document import read_document
from trainctl.errors import EditError

MAX_BYTES = 1024 * 1024

_FILED = re.compile(r"\d{8}T\d{6}\.\d{6}-[0-9a-f]{8}")
_FIELDS = ("edits", "who", "via", "note")


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asked for: values by dotted key, as text or as YAML typed them, not yet checked."""

    id: str
    edits: Mapping[Any, Any]
    who: str | None
    via: str
    note: str | None
    source: Path


def is_filed(path: Path) -> bool:
    """Say whether `file_request` made this file: then it is whole once it is there; others may be half written."""
    return _FILED.fullmatch(path.stem) is not None


def request_id(path: Path) -> str:
    """Return the id of a request: its name; for a hand-dropped file, whose name may come again, also which file it is.

    Raises:
        OSError: the file is gone.
    """
    if is_filed(path):
        return path.stem
    found = path.lstat()
    return f"{path.name}@{found.st_ino:x}.{found.st_mtime_ns:x}"


def read_request(path: Path) -> Request:
    """Read a request from a file: `edits:` with `who`, `via` and `note` beside it, or a mapping that is all edits.

    Raises:
        EditError: a link, not a file, too long, half written, not YAML, or not a mapping.
        FileNotFoundError: it is gone.
    """
    request = request_id(path)
    text, owner = _read(path)

    def error(reason: str) -> EditError:
        return EditError(f"the request {path.name!r} cannot be read: {reason}")

    content = read_document(text, error)
    if not isinstance(content, dict):
        kind = "it is empty" if content is None else f"it holds {type(content).__name__}"
        raise error(f"{kind}, and must be a mapping of keys to values such as 'optim.lr: 0.1'")
    if not isinstance(content.get("edits"), dict):
        return Request(request, content, owner, "file", None, path)
    unknown = sorted(str(name) for name in content if name not in _FIELDS)
    if unknown:
        raise error(f"{unknown[0]!r} is not known beside 'edits'; allowed are {', '.join(_FIELDS)}")
    who, via, note = (_text(content.get(name)) for name in _FIELDS[1:])
    return Request(request, content["edits"], who or owner, via or "file", note, path)


def short(edits: Mapping[Any, Any], most: int = 200) -> dict[str, Any]:
    """Return edits as a record of what was asked shows them: long values cut, so that no request can fill the disk."""
    shown = {}
    for key, value in list(edits.items())[:100]:
        text = value if isinstance(value, str) else None
        if text is None and not isinstance(value, bool | int | float | None):
            text = f"a {type(value).__name__}"
        shown[str(key)[:most]] = value if text is None else text if len(text) <= most else text[:most] + "…"
    return shown


def _read(path: Path) -> tuple[str, str | None]:
    def error(reason: str) -> EditError:
        return EditError(f"the request {path.name!r} cannot be read: {reason}")

    try:
        # not following links, and not waiting for the writer of a pipe
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as problem:
        reason = "it is a link" if problem.errno == errno.ELOOP else str(problem.strerror)
        raise error(reason) from problem
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise error("it is not a regular file")
        if found.st_size > MAX_BYTES:
            raise error(f"it has {found.st_size} bytes; at most {MAX_BYTES} are allowed")
        with os.fdopen(os.dup(descriptor), "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as problem:
        raise error(str(problem.strerror or problem)) from problem
    finally:
        os.close(descriptor)
    try:
        return data.decode(), _owner(found.st_uid)
    except UnicodeDecodeError as problem:
        raise error("it is not UTF-8 text") from problem


def _owner(uid: int) -> str | None:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _text(value: Any, most: int = 1000) -> str | None:
    return None if value is None else str(value)[:most]
