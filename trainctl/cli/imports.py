"""`trainctl import`: configs of other tools, carried over into files that are not there yet."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from trainctl.cli import terminal
from trainctl.config.changelog import dumps, loads
from trainctl.errors import TrainctlError
from trainctl.importers import mlrunner, trainconfig

app = typer.Typer(help="Carry over what another tool wrote.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Carry over what another tool wrote."""


@app.command("trainconfig")
def trainconfig_files(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file with trainconfig's key modifiers.")],
    changelog: Annotated[Path | None, typer.Argument(metavar="[CHANGELOG]", help="Its changelog.")] = None,
    to: Annotated[Path, typer.Option(metavar="DIR", help="Where to write; nothing there is overwritten.")] = Path(
        "imported"
    ),
) -> None:
    """Make a Hydra config, with controls, and a changelog to replay; tell what could not be carried over."""
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


@app.command("mlrunner")
def mlrunner_file(
    params: Annotated[Path, typer.Argument(metavar="PARAMS", help="mlrunner's params.yaml.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Where to write; nothing there is overwritten.")] = Path(
        "imported"
    ),
) -> None:
    """Make a config for `trainctl run`: commands, config groups and grids; tell what could not be carried over."""
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
        raise TrainctlError(f"{there[0]} is there already; nothing was written, give another directory with --to")
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
