"""One request in the inbox of a run: to change keys, to undo an edit, to run an action, or to cancel a request."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainctl.config.yaml import read_document
from trainctl.errors import EditError, UnreadableError
from trainctl.rundir import files

MAX_BYTES = 1024 * 1024

_FILED = re.compile(r"\d{8}T\d{6}\.\d{6}-[0-9a-f]{8}")
_WHATS = ("edits", "relative", "undo", "action", "cancel")  # what is asked for; edits and relative ones may go together
_KINDS: dict[str, tuple[type, str]] = {
    **dict.fromkeys(("edits", "relative", "arguments"), (dict, "a mapping")),
    "action": (str, "the name of an action"),
    "cancel": (str, "the id of a request"),
}
_FIELDS = (*_WHATS, "arguments", "at", "force", "who", "via", "note")


@dataclass(frozen=True, slots=True)
class Request:
    """A request as filed; keys and values are not checked yet.

    Attributes:
        edits: values by dotted key (or nested), as text or as YAML typed them.
        at: the step at which to apply it; None for the next one.
        force: allow changes larger than `max_change`, and an undo of keys that were changed again.
        relative: changes of the current value by dotted key: `{"op": "*", "by": "0.5"}`, op one of `* / + -`.
        undo: the number of the edit to undo; True for the last one that is not undone yet.
        action: the action to run, with `arguments`.
        cancel: the id of the waiting request to cancel.
    """

    id: str
    edits: Mapping[Any, Any]
    who: str | None
    via: str
    note: str | None
    source: Path
    at: int | None = None
    force: bool = False
    relative: Mapping[str, Any] = field(default_factory=dict)
    undo: int | bool | None = None
    action: str | None = None
    cancel: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def asked(self) -> dict[Any, Any]:
        """The edits as on the command line, relative ones as `{"optim.lr*": "0.5"}`."""
        changes = {f"{key}{change.get('op')}": change.get("by") for key, change in self.relative.items()}
        return {**self.edits, **changes}


def is_filed(path: Path) -> bool:
    """Whether `file_request` made this file, so that it is complete; other files may be half written."""
    return _FILED.fullmatch(path.stem) is not None


def request_id(path: Path) -> str:
    """Return the id of a request: its name; for a file dropped by hand, whose name may recur, also inode and time.

    Raises:
        OSError: the file is gone.
    """
    if is_filed(path):
        return path.stem
    found = path.lstat()
    return f"{path.name}@{found.st_ino:x}.{found.st_mtime_ns:x}"


def read_request(path: Path) -> Request:
    """Read a request from a file: a mapping with fields (`edits`, `who`, …), or a mapping of edits only.

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
    if not _says_what(content, is_filed(path)):
        return Request(request, content, owner, "file", None, path)
    unknown = sorted(str(name) for name in content if name not in _FIELDS)
    if unknown:
        what = next(name for name in _WHATS if name in content)
        raise error(f"{unknown[0]!r} is not known beside {what!r}; allowed are {', '.join(_FIELDS)}")
    content = {name: value for name, value in content.items() if value is not None}
    _check_fields(content, error)
    who, via, note = (_text(content.get(name)) for name in ("who", "via", "note"))
    more = {name: content[name] for name in _FIELDS[1:8] if name in content}
    return Request(request, content.get("edits", {}), who or owner, via or "file", note, path, **more)


def step_of(path: Path) -> int | None:
    """Return the step that a request is for; None for the next one, and where it cannot be read."""
    try:
        return read_request(path).at
    except (EditError, OSError):
        return None


def _says_what(content: dict[Any, Any], is_ours: bool) -> bool:
    """Whether a mapping is a request with fields; else all of it is edits (a config may have keys of these names)."""
    if is_ours:
        return any(name in content for name in _WHATS)
    if isinstance(content.get("edits"), dict):
        return True
    return all(name in _FIELDS for name in content) and (
        isinstance(content.get("action"), str)
        or type(content.get("undo")) in (int, bool)
        or (isinstance(content.get("relative"), dict) and all(map(_is_change, content["relative"].values())))
    )


def _check_fields(content: dict[str, Any], error: Callable[[str], EditError]) -> None:
    """Refuse fields of a wrong type, and requests for two things at once."""
    for name, (kind, what) in _KINDS.items():
        if name in content and not isinstance(content[name], kind):
            raise error(f"{name!r} must be {what} but is {type(content[name]).__name__}")
    wanted = [name for name in _WHATS if name in content and content[name] != {}]
    if len(wanted) > 1 and wanted != ["edits", "relative"]:
        raise error(f"it asks for {' and '.join(wanted)}; ask for each in its own request")
    for key, change in content.get("relative", {}).items():
        if not isinstance(key, str) or not _is_change(change):
            raise error(
                f"the relative edit of {str(key)[:100]!r} must be such as {{op: '*', by: 0.5}}, op one of * / + -"
            )
    at, undo = content.get("at"), content.get("undo")
    if at is not None and (type(at) is not int or at < 1):
        raise error(f"'at' must be a step, a whole number from 1, but is {str(at)[:100]!r}")
    if undo is not None and undo is not True and (type(undo) is not int or undo < 1):
        raise error(f"'undo' must be the number of an edit, or true for the last one, but is {str(undo)[:100]!r}")
    if not isinstance(content.get("force", False), bool):
        raise error(f"'force' must be true or false but is {str(content['force'])[:100]!r}")
    if "arguments" in content and "action" not in content:
        raise error("it has 'arguments' but no 'action'")
    if not all(isinstance(name, str) for name in content.get("arguments", {})):
        raise error("'arguments' must be values by name")


def _is_change(change: Any) -> bool:
    return (
        isinstance(change, dict)
        and change.keys() == {"op", "by"}
        and change["op"] in ("*", "/", "+", "-")
        and type(change["by"]) in (int, float, str)
    )


def short(edits: Mapping[Any, Any], most: int = 200) -> dict[str, Any]:
    """Return edits for the record, with long values cut, so that no request can fill the disk."""
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
        with files.open_regular(path) as file:
            found = os.fstat(file.fileno())
            if found.st_size > MAX_BYTES:
                raise error(f"it has {found.st_size} bytes; at most {MAX_BYTES} are allowed")
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except UnreadableError as problem:
        raise error(problem.why) from problem
    except OSError as problem:
        raise error(str(problem.strerror or problem)) from problem
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
