"""`trainctl edit`: the keys of a running run in the editor, and one request of what was changed there."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from trainctl.cli import terminal
from trainctl.cli.place import RunArgument, shown
from trainctl.cli.request import REFUSAL_S, AtOption, NoteOption, NoWaitOption, WaitOption, keys_of_run, running, tell
from trainctl.config import editor_sheet
from trainctl.config.controls import Key
from trainctl.config.edit import parse_edits
from trainctl.errors import EditError, RunDirError
from trainctl.rundir.edits import read_changelog
from trainctl.rundir.events import wait_for_answer
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import ALIVE, state_of

_HEAD = """\
Change values, save and quit: all changes are applied at one step, or none. A line that is deleted changes nothing.
Keys that cannot be edited now are not here.
"""


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """How the request is to be filed."""

    note: str | None
    at: int | None
    force: bool
    wait_s: float | None


def edit(
    run: RunArgument,
    at: AtOption = None,
    note: NoteOption = None,
    force: Annotated[bool, typer.Option("--force", help="Change keys by more than their max_change allows.")] = False,
    wait: WaitOption = 10.0,
    no_wait: NoWaitOption = False,
) -> None:
    """Open the editable keys of a running run in $VISUAL or $EDITOR; what was changed there is one request.

    What is refused is opened again with the reason above it; leave it as it is to give up.
    """
    found = running(run)
    keys = keys_of_run(found)
    values = editor_sheet.editable(_current(found), keys)
    if not values:
        raise RunDirError(f"{shown(found)} has no key that can be edited now")
    folder = Path(tempfile.mkdtemp(prefix="trainctl-"))
    path = folder / f"{found.name}.yaml"
    asked = RequestOptions(note, at, force, None if no_wait else wait)
    path.write_text(editor_sheet.write(values, keys, f"{found.path}\n{_HEAD}"), encoding="utf-8")
    try:
        code = _edit(found, path, values, keys, asked)
    except EditError:  # of the editor itself: there is no text to keep
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if code == 0:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        terminal.note(f"the text is kept in {path}")
    raise typer.Exit(code)


def _edit(run: RunDir, path: Path, values: Mapping[Any, Any], keys: Mapping[str, Key], asked: RequestOptions) -> int:
    """Open the text until it is taken or given up; return the exit code."""
    reason: str | None = None
    while True:
        before = path.read_bytes()
        _open(path)
        after = path.read_bytes()
        try:
            text = after.decode()
            changed = editor_sheet.changes(values, text, keys)
            if not changed:
                terminal.print_line("nothing to do")
                return 0
            if reason is not None and after == before:
                return terminal.complain(reason)
            parse_edits(changed, keys)
            return _file(run, changed, asked)
        except (EditError, UnicodeDecodeError) as error:
            if after == before:
                return terminal.complain(str(error))
            reason = str(error)
            _put_above(path, after, reason)


def _file(run: RunDir, changed: Mapping[str, Any], asked: RequestOptions) -> int:
    """File the request and tell its answer.

    Raises:
        EditError: the run has rejected it.
    """
    state = state_of(run)
    if state not in ALIVE:
        return terminal.complain(f"{shown(run)} is not running any more ({state}); nothing was changed")
    request = file_request(run, changed, via="editor", note=asked.note, at=asked.at, force=asked.force)
    if asked.wait_s is not None:
        answer = wait_for_answer(run, request, asked.wait_s if asked.at is None else min(asked.wait_s, REFUSAL_S))
        if answer is not None and answer.state == "rejected":
            raise EditError(f"rejected: {answer.reason}")
    return tell(run, request, wait_s=None if asked.wait_s is None else 0.0, at=asked.at, shows_values=True)


def _put_above(path: Path, text: bytes, reason: str) -> None:
    """Write the text again with the reason as its first line, in the place of an earlier one."""
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith(b"#! ")]
    path.write_bytes(f"#! {terminal.clean(reason)}\n".encode() + b"".join(lines))


def _open(path: Path) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        code = subprocess.run([*shlex.split(editor), str(path)], check=False).returncode
    except (OSError, ValueError) as error:
        raise EditError(
            f"the editor {editor!r} cannot be started ({error}); name one with $VISUAL or $EDITOR"
        ) from error
    if code != 0:
        raise EditError(f"the editor {editor!r} ended with exit code {code}; nothing was changed")


def _current(run: RunDir) -> dict[Any, Any]:
    log = read_changelog(run)
    if log is None:
        raise RunDirError(f"{shown(run)} takes no edits: its task has not called trainctl.live(cfg)")
    return log.at(log.last_step)
