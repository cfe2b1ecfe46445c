"""Finding the run that is meant on the command line."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

import typer

from trainctl.errors import RunDirError
from trainctl.rundir.paths import RunDir, find_runs

ROOT = Path("outputs")

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run dir, or a unique name below outputs/ (below the working directory, if there is no outputs/).",
    ),
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY>VALUE", help="Only runs that match: lr>0.01, norm=new, state!=done. May be repeated."),
]
SortOption = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="Sort by a parameter, metric or state; -KEY sorts in descending order."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def find_run(text: str) -> RunDir:
    """Return the run at a path, even if unreadable; else the one below outputs/ whose path ends in `text`.

    Raises:
        RunDirError: there is none, or there are several.
    """
    run = RunDir.at(text)
    if text and (run.is_run() or run.shut()):
        return run
    root = ROOT if ROOT.is_dir() else Path()
    known = find_runs(root)
    found = [run for run in known if text and f"/{run.path}".endswith(f"/{text.strip('/')}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise RunDirError(f"{text!r} is the name of {len(found)} runs; say which one: {_listed(found)}")
    if run.path.is_dir():
        below = find_runs(run.path)
        hint = f"it holds these: {_listed(below)}" if below else "no run was started there, nor below it"
        raise RunDirError(f"{text!r} is not a run dir; {hint}")
    names = sorted({run.name for run in known})
    near = [name for name in names if text in name][:3] or difflib.get_close_matches(text, names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`trainctl ls` lists the runs below a directory"
    raise RunDirError(f"there is no run {text!r}, neither at that path nor by that name below {root}/; {hint}")


def find_root(path: Path) -> Path:
    """Return a directory of runs.

    Raises:
        RunDirError: it is not there, or is not a directory.
    """
    if not path.is_dir():
        wrong = "is not a directory" if path.exists() else "does not exist"
        raise RunDirError(f"{str(path)!r} {wrong}; name the directory that holds your runs{_examples(path)}")
    return path


def _examples(path: Path) -> str:
    """Return directories with runs below the working directory, for the error that the default one has none."""
    tops = {run.path.relative_to(Path.cwd()).parts[0] for run in find_runs(Path())} if path == ROOT else set()
    return f": there are some below {', '.join(sorted(tops))}" if tops else ", such as outputs"


def shown(run: RunDir) -> str:
    """Return the path of a run relative to the working directory, if it is below."""
    try:
        return str(run.path.relative_to(Path.cwd()))
    except ValueError:
        return str(run.path)


def _listed(runs: list[RunDir], most: int = 10) -> str:
    more = f" and {len(runs) - most} more" if len(runs) > most else ""
    return ", ".join(shown(run) for run in runs[:most]) + more
