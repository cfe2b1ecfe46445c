"""`trainctl pull`, `sync` and `import`: exchange with other tools and with trackers."""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from trainctl.cli import terminal
from trainctl.cli.place import RunArgument, find_run, shown
from trainctl.config import yaml
from trainctl.config.adopt import is_left_out
from trainctl.config.changelog import dumps, loads
from trainctl.config.keys import join
from trainctl.config.loaded import Loaded
from trainctl.config.values import has_interpolation
from trainctl.errors import SettingError, TrainctlError
from trainctl.importers import mlrunner, trainconfig
from trainctl.sources.kinds import KINDS, read_source
from trainctl.track.sync import sync as send
from trainctl.track.sync import trackers_of

Source = Annotated[
    str,
    typer.Argument(metavar="SOURCE", help=f"As in +from=SOURCE: KIND/PLACE, with one of the kinds {', '.join(KINDS)}."),
]


def pull(source: Source) -> None:
    """Print the config that +from=SOURCE would load, as YAML: trainctl pull SOURCE > conf/pulled/x.yaml.

    Values keep the types of the source, since without an app there is no schema to convert them to.
    """
    loaded = read_source(source)
    values = loaded.values
    left_out: list[str] = []
    if not loaded.is_own:
        values = _plain_data(values, (), loaded, left_out)
    said = terminal.clean(f"pulled from {source}: {loaded.origin}")
    sys.stdout.write(f"# @package _global_\n# {said}\n{commented(values, loaded.help)}")
    notes = list(loaded.notes)
    if left_out:
        notes.append(f"left out, as they are missing, secrets or interpolations there: {', '.join(left_out)}")
    for sentence in notes:
        terminal.note(sentence, style="yellow")


def commented(values: Mapping[Any, Any], comments: Mapping[str, str], above: tuple[str, ...] = ()) -> str:
    """Return a mapping as YAML, with the source's comments above the keys.

    >>> print(commented({"optim": {"lr": 0.1}, "n": 1}, {"optim.lr": "step size"}), end="")
    optim:
      # step size
      lr: 0.1
    n: 1
    """
    text = ""
    for key, value in values.items():
        path = (*above, str(key))
        name = join(path)
        text += f"# {terminal.clean(comments[name])}\n" if name in comments else ""
        if isinstance(value, dict) and any(each.startswith(f"{name}.") for each in comments):
            head, below = yaml.dumps({key: None}).removesuffix(" null\n"), commented(value, comments, path)
            text += f"{head}\n{textwrap.indent(below, '  ')}"
        else:
            text += yaml.dumps({key: value})
    return text or yaml.dumps({})


def _plain_data(
    values: Mapping[Any, Any], above: tuple[str, ...], loaded: Loaded, left_out: list[str]
) -> dict[Any, Any]:
    kept: dict[Any, Any] = {}
    for key, value in values.items():
        path = (*above, str(key))
        if isinstance(value, dict):
            kept[key] = _plain_data(value, path, loaded, left_out)
        elif is_left_out(value, loaded) or has_interpolation(value):
            left_out.append(join(path))
        else:
            kept[key] = value
    return kept


def sync(
    name: RunArgument,
    to: Annotated[
        list[str] | None,
        typer.Option(help="mlflow, tensorboard or wandb; by default those of the run's trainctl.track. Repeatable."),
    ] = None,
) -> None:
    """Send to trackers what they are missing of a run, after a kill or because a server was down."""
    run = find_run(name)
    names = to or (trackers_of(run) if os.path.lexists(run.changelog) else [])
    if not names:
        raise SettingError(f"{shown(run)} names no tracker in trainctl.track; give one by --to, such as --to mlflow")
    has_failed = False
    for one in send(run, names):
        if one.problem is not None:
            has_failed = True
            terminal.complain(f"{one.tracker} has not got all of {shown(run)}: {one.problem}")
            continue
        what = (
            f"{one.sent.records} records, {one.sent.changes} edits" if any((one.sent.records, one.sent.changes)) else ""
        )
        where = f" ({one.address})" if one.address else ""
        terminal.print_line(f"{one.tracker}: {what or 'has everything already'}{where}")
    if has_failed:
        raise typer.Exit(1)


importing = typer.Typer(help="Import configs of other tools.", no_args_is_help=True)


@importing.callback()
def _group() -> None:
    """Import configs of other tools."""


@importing.command("trainconfig")
def trainconfig_files(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file with trainconfig's key modifiers.")],
    changelog: Annotated[Path | None, typer.Argument(metavar="[CHANGELOG]", help="Its changelog.")] = None,
    to: Annotated[Path, typer.Option(metavar="DIR", help="Where to write; nothing there is overwritten.")] = Path(
        "imported"
    ),
) -> None:
    """Make a Hydra config, with controls, and a changelog to replay; say what could not be carried over."""
    imported = trainconfig.carry(_read(config), str(config))
    texts: dict[Path, str] = {}
    if changelog is not None:
        carried = trainconfig.carry_changelog(loads(_read(changelog), str(changelog)), imported)
        texts[to / "changelog.yaml"] = dumps(carried)
    texts = {to / "conf" / "config.yaml": trainconfig.write(imported, config.name), **texts}
    _write(texts)
    for path in texts:
        terminal.print_line(f"wrote {path}")
    if changelog is not None:
        terminal.print_line(f"its edits again: trainctl.replay={to / 'changelog.yaml'}")
    for sentence in imported.notes:
        terminal.note(sentence, style="yellow")


@importing.command("mlrunner")
def mlrunner_file(
    params: Annotated[Path, typer.Argument(metavar="PARAMS", help="mlrunner's params.yaml.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Where to write; nothing there is overwritten.")] = Path(
        "imported"
    ),
) -> None:
    """Make a config for `trainctl run`: commands, config groups and grids; say what could not be carried over."""
    imported = mlrunner.carry(_read(params), str(params), f"{params.stem}.yaml")
    _write({to / name: text for name, text in imported.files.items()})
    for name in imported.files:
        terminal.print_line(f"wrote {to / name}")
    terminal.print_line(f"to run it: trainctl run --config {shlex.quote(f'{to / params.stem}.yaml')}")
    for sentence in imported.notes:
        terminal.note(sentence, style="yellow")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise TrainctlError(f"there is no file {str(path)!r}") from error
    except UnicodeDecodeError as error:
        raise TrainctlError(f"{path} is not UTF-8 text") from error


def _write(texts: dict[Path, str]) -> None:
    """Write new files, all or none."""
    there = [str(path) for path in texts if path.exists() or path.is_symlink()]
    if there:
        raise TrainctlError(f"{there[0]} exists already; nothing was written, give another directory with --to")
    written: list[Path] = []
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:  # whatever came there meanwhile stays
                written.append(path)
                file.write(text)
    except OSError:
        for path in written:
            path.unlink()
        raise
