"""Output directories of mlrunner: `param` holds the parameters, `stat` what became of each command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trainctl.config.keys import leaves
from trainctl.config.yaml import read_document
from trainctl.errors import UnreadableError
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import State


def is_output(path: Path) -> bool:
    """Whether mlrunner made this directory, and no run of ours is there."""
    return os.path.isfile(path / "param") and not RunDir(path).is_run()


def read_output(path: Path, problems: list[str]) -> tuple[State, str | None, dict[str, Any]]:
    """Return state, reason and parameters; mlrunner's own entries, which begin with `_`, are left out."""
    params, stat = _known(path / "param", problems), _known(path / "stat", problems)
    own = {key: value for key, value in params.items() if not str(key).startswith("_")}
    open_ends = [f"{command}: {state}" for command, state in stat.items() if state != "finished"]
    scripts = params.get("_scripts")
    missing = [str(command) for command in scripts if command not in stat] if isinstance(scripts, dict) else []
    if open_ends:
        return (
            ("failed" if any("fail" in end for end in open_ends) else "interrupted"),
            ", ".join(open_ends),
            leaves(own),
        )
    if not stat:
        return "queued", None, leaves(own)
    if missing:
        return "interrupted", f"not run: {', '.join(missing)}", leaves(own)
    return "done", None, leaves(own)


def _known(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        return _mapping(path)
    except UnreadableError as error:
        problems.append(f"{path.name}: {error.why}")
        return {}


def _mapping(path: Path) -> dict[str, Any]:
    """Read a file of mlrunner's, whose writer may have used aliases.

    Raises:
        UnreadableError: it is there and cannot be read, or holds no mapping.
    """
    try:
        text = files.read_bytes(path).decode(errors="replace")
    except FileNotFoundError:
        return {}
    found = read_document(text, lambda why: files.unreadable(path, why), aliases=True)
    if not isinstance(found, dict):
        raise files.unreadable(path, "it holds no mapping")
    return found
