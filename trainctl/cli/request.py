"""`trainctl set` and `trainctl edit`: ask a running run to change keys, and print its answer."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from trainctl.cli import terminal
from trainctl.cli.place import RunArgument, find_run, shown
from trainctl.config import editor_sheet, yaml
from trainctl.config._omegaconf import MISSING
from trainctl.config.controls import Key
from trainctl.config.edit import parse_edits
from trainctl.config.relative import take_apart
from trainctl.errors import EditError, RunDirError
from trainctl.rundir.edits import read_changelog, reading
from trainctl.rundir.events import Event, wait_for_answer
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import ALIVE, OVER, state_of
from trainctl.rundir.summary import read_record

READ_S = 3.0  # how long to wait, once an edit is applied, for who reads it: a step may take minutes
REFUSAL_S = 1.0  # how long to wait for a refusal of what is asked for a later step

AtOption = Annotated[
    int | None, typer.Option(min=1, metavar="STEP", help="Apply it at this step, not at the next one.")
]
NoteOption = Annotated[str | None, typer.Option(help="Why, for the changelog.")]
WaitOption = Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for the answer.")]
NoWaitOption = Annotated[bool, typer.Option("--no-wait", help="File the request and end.")]


def set_keys(
    run: RunArgument,
    edits: Annotated[
        list[str],
        typer.Argument(metavar="KEY=VALUE...", help="New values, or changes of the current ones: KEY*=0.5 /= += -=."),
    ],
    at: AtOption = None,
    note: NoteOption = None,
    force: Annotated[bool, typer.Option("--force", help="Change it by more than its max_change allows.")] = False,
    wait: WaitOption = 10.0,
    no_wait: NoWaitOption = False,
) -> None:
    """Change keys of a running run, all at one step or none; the exit code is 0 only if they were applied.

    With --at it is 0 if the request waits for its step.
    """
    parse_pairs(edits)  # text that is not KEY=VALUE is refused, whatever the run
    found = running(run)
    values, relative = read_edits(edits, keys_of_run(found))
    request = file_request(found, values, via="cli", note=note, at=at, force=force, relative=relative)
    raise typer.Exit(tell(found, request, wait_s=None if no_wait else wait, at=at, shows_values=bool(relative)))


def running(text: str) -> RunDir:
    """Return a run by its path or name; it must be running.

    Raises:
        RunDirError: there is no such run, or it does not run.
    """
    found = find_run(text)
    state = state_of(found)
    if state not in ALIVE:
        raise RunDirError(f"{shown(found)} is not running ({state}); nothing was changed")
    return found


def keys_of_run(run: RunDir) -> dict[str, Key]:
    """Return how each key of a run may be edited; empty when its task has not called `trainctl.live(cfg)` yet."""
    known = read_record(run, "keys").get("keys")
    if not isinstance(known, dict):
        return {}
    return {str(name): Key.from_dict(record) for name, record in known.items() if isinstance(record, dict)}


def parse_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """Split `key=value` pairs at the first `=`.

    Raises:
        EditError: a pair without `=` or without a key, or a key given twice.

    >>> parse_pairs(["optim.lr=2e-4", "name=a=b"])
    {'optim.lr': '2e-4', 'name': 'a=b'}
    """
    values: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key.strip():
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE, such as optim.lr=2e-4")
        if key.strip() in values:
            raise EditError(f"{key.strip()} was given twice; nothing was changed")
        values[key.strip()] = value
    return values


def read_edits(pairs: Sequence[str], known: Collection[str]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Return new values by key, and changes of current values (`lr*=0.5`) by key.

    A known key that ends with an operator (`odd-`) is meant as it is written.

    Raises:
        EditError: as `parse_pairs`, or a key is given in both ways.

    >>> read_edits(["optim.lr*=0.5", "n=-3"], ["optim.lr", "n"])
    ({'n': '-3'}, {'optim.lr': {'op': '*', 'by': '0.5'}})
    """
    values: dict[str, str] = {}
    relative: dict[str, dict[str, str]] = {}
    for left, value in parse_pairs(pairs).items():
        change = take_apart(left, known)
        key = change[0] if change else left
        if key in values or key in relative:
            raise EditError(f"{key} was given twice; nothing was changed")
        if change is None:
            values[key] = value
        else:
            relative[key] = {"op": change[1], "by": value}
    return values, relative


def tell(run: RunDir, request: str, *, wait_s: float | None, at: int | None = None, shows_values: bool = False) -> int:
    """Wait for the answer, print it, and return the exit code; without `wait_s` only say that the request was filed."""
    if wait_s is None:
        terminal.print_line(f"filed as {request}; `trainctl log` will tell what became of it")
        return 0
    answer = wait_for_answer(run, request, wait_s if at is None else min(wait_s, REFUSAL_S))
    if answer is not None and answer.state == "applied":
        told = wait_for_answer(run, request, READ_S, lambda event: event.read is not None) or answer
        is_unread = told.read is not None and None in told.read.values()
        terminal.print_line(_applied(told, shows_values), style="yellow" if is_unread else "")
        return 0
    if answer is not None:
        return terminal.complain(f"rejected: {answer.reason}")
    state = state_of(run)
    if state not in ALIVE and (at is None or state in OVER):
        return terminal.complain(f"{shown(run)} has ended ({state}) without an answer; the request was not applied")
    if at is not None:
        terminal.print_line(f"waits for step {at:,}; `trainctl log` will tell what became of it")
        return 0
    return terminal.complain(
        f"no answer from {shown(run)} within {wait_s:g} s; the request is still in its inbox and is applied "
        "at its next step (keys with when: epoch: at its next epoch), or rejected when it ends (`trainctl log` will "
        "tell)"
    )


def _applied(answer: Event, shows_values: bool) -> str:
    what = "" if answer.undo is None else f", undoing edit {answer.undo}"
    values = ", ".join(f"{key}={_short(value)}" for key, value in (answer.edits or {}).items())
    shown_values = f": {values}" if shows_values and values else ""
    read = reading(answer.read, answer.watched) or ("" if answer.read is not None else "not read yet")
    separator = ("; " if shown_values or answer.read is None else ", ") if read else ""
    return f"applied at step {answer.step}{what}{shown_values}{separator}{read}"


def _short(value: Any) -> str:
    text = "(not there)" if value == MISSING else yaml.inline(value)
    return text if len(text) <= 200 else text[:200] + "…"


_HEAD = """\
Change values, save and quit: all changes are applied at one step, or none. A line that is deleted changes nothing.
Keys that cannot be edited now are not here.
"""


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """The options of the request."""

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
    """Open the editable keys of a running run in $VISUAL or $EDITOR; the changes are filed as one request.

    If they are refused, the text is opened again with the reason above it; leave it unchanged to give up.
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
    """Open the text until it is accepted or given up; return the exit code."""
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
    """File the request and print its answer.

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
