"""`trainctl pairs`: which options of two config groups go together."""

from __future__ import annotations

from typing import Annotated

import typer

from trainctl.cli import terminal
from trainctl.cli.grid import Column, print_grid
from trainctl.cli.opening import APP, AppOption, OpenApp, OverridesArgument, look_at
from trainctl.config.pairs import Fit, Pairs
from trainctl.errors import AppError

Matrix = dict[str, dict[str, Fit]]


def pairs(
    overrides: OverridesArgument = None,
    app: AppOption = APP,
    registry: Annotated[
        str | None, typer.Option(metavar="MODULE.NAME", help="A trainctl.Pairs; else that of trainctl.pairs.")
    ] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which options go together: as they are, adapted, or not at all."""
    given = list(overrides or ())

    def look(opened: OpenApp) -> tuple[Pairs, Matrix]:
        found = _registry(opened, given, registry, app)
        return found, _matrix(opened, found, app)

    found, matrix = look_at(app, given, look)
    if as_json:
        terminal.print_json(matrix)
    elif as_markdown:
        typer.echo("\n".join(_markdown(found, matrix)))
    else:
        _print(found, matrix)


def _registry(opened: OpenApp, overrides: list[str], named: str | None, app: str) -> Pairs:
    from trainctl.compose.pairs import load_pairs
    from trainctl.config.settings_node import setting

    path = named or setting(opened.compose(overrides), "pairs")
    if path is None:
        raise AppError(f"--app {app}: its config sets no trainctl.pairs; set it, or name a registry with --registry")
    return load_pairs(str(path))


def _matrix(opened: OpenApp, found: Pairs, app: str) -> Matrix:
    first, second = (opened.hydra.config_loader.get_group_options(group) for group in found.groups)
    for group, options in zip(found.groups, (first, second), strict=True):
        if not options:
            raise AppError(f"--app {app}: it has no config group {group}, of which its pairs speak")
    return found.matrix(first, second)


def _print(found: Pairs, matrix: Matrix) -> None:
    seconds = list(next(iter(matrix.values())))
    print_grid(
        [
            Column(" / ".join(found.groups), list(matrix)),
            *(Column(each, [row[each] for row in matrix.values()], least=12) for each in seconds),
        ]
    )


def _markdown(found: Pairs, matrix: Matrix) -> list[str]:
    seconds = list(next(iter(matrix.values())))
    return [
        f"| {' / '.join(found.groups)} | {' | '.join(seconds)} |",
        "|---" * (len(seconds) + 1) + "|",
        *(f"| {first} | {' | '.join(row[each] for each in seconds)} |" for first, row in matrix.items()),
    ]
