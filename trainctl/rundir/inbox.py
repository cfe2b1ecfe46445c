"""The inbox of a run: one file per request, moved into place when complete, as in a maildir."""

from __future__ import annotations

import getpass
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainctl.config import yaml
from trainctl.errors import EditError, RunDirError
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.rundir.request import MAX_BYTES


def file_request(  # noqa: D417  # the last are described where they are at home
    run: RunDir,
    edits: Mapping[str, Any],
    *,
    who: str | None = None,
    via: str,
    note: str | None = None,
    at: int | None = None,
    force: bool = False,
    relative: Mapping[str, Mapping[str, Any]] | None = None,
    undo: int | bool | None = None,
    action: str | None = None,
    cancel: str | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> str:
    """File one request; its edits are applied together at one step, or rejected together.

    Args:
        run: the run to change; whether it is running is not checked.
        edits: new values by dotted key, as text or plain values.
        who: the user who asks; by default the user of this process.
        via: where the request comes from: `panel`, `cli`, …
        note: why, for the changelog.
        at, force, relative, undo, action, cancel, arguments: as in `Request`.

    Returns:
        The id to look up the answer with (`events.answer`). Ids of one machine sort by time.

    Raises:
        EditError: the request is too long. RunDirError: the run has no inbox, or it cannot be written.
    """
    record = {
        "edits": dict(edits) if edits or not (relative or undo or action or cancel) else None,
        "relative": {key: dict(change) for key, change in relative.items()} if relative else None,
        "undo": undo or None, "action": action, "cancel": cancel, "arguments": dict(arguments) if arguments else None,
        "at": at, "force": force or None, "who": who or user(), "via": via, "note": note,
    }  # fmt: skip
    return _file(run, yaml.dumps(_writable({name: value for name, value in record.items() if value is not None})))


def _file(run: RunDir, text: str) -> str:
    if len(text.encode()) > MAX_BYTES:
        raise EditError(f"the request has {len(text.encode())} bytes; at most {MAX_BYTES} are allowed")
    now = time.time_ns()
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now // 10**9))
    request = f"{stamp}.{now % 10**9 // 1000:06}-{secrets.token_hex(4)}"
    try:
        files.write_atomic(run.inbox / f"{request}.yaml", text)
    except OSError as error:
        raise RunDirError(
            f"the request cannot be filed in {str(run.inbox)!r}: {error.strerror or error}; is this the dir of a run?"
        ) from error
    return request


def list_inbox(run: RunDir) -> list[Path]:
    """List the requests in the inbox by name, so filed ones in order of time; hidden and backup files are skipped.

    Raises:
        OSError: the inbox cannot be listed.
    """
    with os.scandir(run.inbox) as entries:
        names = [entry.name for entry in entries]
    return [run.inbox / name for name in sorted(names) if not name.startswith(".") and not name.endswith("~")]


def names_in_inbox(run: RunDir) -> frozenset[str]:
    """Return the names of the requests in the inbox; none where it cannot be listed."""
    try:
        return frozenset(path.name for path in list_inbox(run))
    except OSError:
        return frozenset()


def user() -> str:
    """Return the name of the user of this process, or the user id if there is no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _writable(value: Any) -> Any:
    """Replace lone surrogates (undecodable bytes of a command line), which no YAML can hold."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_writable(key): _writable(inner) for key, inner in value.items()}
    return [_writable(inner) for inner in value] if isinstance(value, list) else value
