"""`trainctl doctor`: whether what this machine has is what hydra-trainctl was tested with."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import socket
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.table import Table
from rich.text import Text

from trainctl.cli import terminal
from trainctl.errors import SettingError

DISTRIBUTION = "hydra-trainctl"
PYTHONS = (10, 14)  # of 3.x: the first that is tested, and the first that is not
_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)(?:\[.*?\])?\s*(?P<range>[^;]*)(?:;.*extra\s*==\s*['\"](?P<extra>[\w-]+)['\"])?"
)
_NOT_FOR_USERS = ("dev", "docs", "test")


class Finding(NamedTuple):
    """One line: what was looked at, what there is, and what is wrong with it (empty where nothing is)."""

    subject: str
    found: str
    problem: str = ""


def doctor(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="A directory for runs: whether its file system has locks is tested.")
    ] = Path(),
    port: Annotated[int, typer.Option(help="A port for the page; 0 takes any.", min=0, max=65535)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Show what is installed, with the tested versions, which GPUs are seen, and whether locks and ports can be used.

    The exit code is 1 if something is wrong.
    """
    findings = [*versions(), *gpus(), locks(directory), meeting_place(), listening(port)]
    if as_json:
        terminal.print_json([finding._asdict() for finding in findings])
    else:
        table = Table.grid(padding=(0, 2))
        for finding in findings:
            subject, found, problem = (Text(terminal.clean(each)) for each in finding)
            problem.stylize("red")
            table.add_row(subject, found, problem)
        terminal.console().print(table, soft_wrap=not terminal.is_terminal())
    if any(finding.problem for finding in findings):
        raise typer.Exit(1)


def versions() -> Iterator[Finding]:
    """Tell of Python, and of each package that is needed or an extra asks for, its version and which is tested."""
    running = platform.python_version_tuple()[:2]
    is_tested = running[0] == "3" and PYTHONS[0] <= int(running[1]) < PYTHONS[1]
    tested = f"tested are 3.{PYTHONS[0]} to 3.{PYTHONS[1] - 1}"
    yield Finding("python", platform.python_version(), "" if is_tested else tested)
    try:
        yield Finding(DISTRIBUTION, metadata.version(DISTRIBUTION))
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Finding(
            DISTRIBUTION, "not installed", "it is imported from a directory; install it, or Hydra finds no plugin"
        )
        return
    seen: set[str] = set()
    for requirement in requirements:
        part = _REQUIREMENT.match(requirement)
        if part is None or part["name"] in seen or part["name"] == DISTRIBUTION or part["extra"] in _NOT_FOR_USERS:
            continue
        seen.add(part["name"])
        yield _version(part["name"], part["range"].strip(), part["extra"])


def _version(name: str, specifier: str, extra: str | None) -> Finding:
    from packaging.specifiers import SpecifierSet

    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(
            name, f"not installed (extra {extra})" if extra else "not installed", "" if extra else "it is needed"
        )
    fits = SpecifierSet(specifier).contains(version, prereleases=True)
    return Finding(name, version, "" if fits else f"tested is {specifier}")


def gpus() -> Iterator[Finding]:
    """Tell of each GPU that jobs may use, and of what limits the choice."""
    from trainctl.launch.slots.devices import visible_gpus

    try:
        visible = visible_gpus()
    except SettingError as error:
        yield Finding("GPUs", "unknown", str(error))
        return
    try:
        for gpu in visible.gpus:
            memory = "" if gpu.total_mib is None else f", {gpu.total_mib} MiB"
            yield Finding(f"GPU {gpu.index}", f"{gpu.name}{memory}")
        if not visible.gpus:
            unasked = visible.unasked
            sign = unasked.sign if unasked is not None else ""
            yield Finding(
                "GPUs", f"there are some ({sign}), but no library counts them" if sign else "none are visible"
            )
        elif visible.scope:
            yield Finding("GPUs", visible.scope)
    finally:
        if visible.reader is not None:
            visible.reader.close()


def locks(directory: Path) -> Finding:
    """Try a lock on the file system of a directory."""
    place = directory.absolute()
    while not place.exists():
        place = place.parent
    subject = f"locks in {place}"
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except PermissionError:
        return Finding(subject, "not tried", "you may not write there, so runs are only shown")
    except OSError as error:
        where = os.environ.get("TRAINCTL_LOCKS")
        problem = f"{error.strerror or error}; give trainctl.locks=DIR, a directory on a disk of this machine"
        return Finding(subject, f"none; kept in {where}" if where else "none", "" if where else problem)
    return Finding(subject, "yes")


def meeting_place() -> Finding:
    """Tell where the launchers of this user count the jobs on a device."""
    from trainctl.attempt.host import host_dir

    try:
        return Finding("locks of devices", str(host_dir()))
    except OSError as error:
        return Finding("locks of devices", "none", str(error))


def listening(port: int) -> Finding:
    """Try whether a page could listen on this machine."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            return Finding(f"port {port}" if port else "ports", "taken", error.strerror or str(error))
    return Finding(f"port {port}" if port else "ports", "free on 127.0.0.1")
