"""`trainctl panel`: the page for a directory of runs, for as long as this command runs or a run asked for."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Annotated

import typer

from trainctl.cli import terminal
from trainctl.cli.place import ROOT, find_root
from trainctl.config.settings import PanelSettings
from trainctl.errors import TrainctlError


def panel(
    root: Annotated[Path, typer.Argument(metavar="[DIR]", help="Whose runs to show.", show_default=True)] = ROOT,
) -> None:
    """Show the page for the runs below a directory until Ctrl-C."""
    from trainctl.panel.server import handle as process

    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    handle = process.ensure(find_root(root), PanelSettings(keep_min=0), as_it_is=True)
    if handle is None:
        raise typer.Exit(1)  # the reason has been logged
    ended = threading.Event()
    try:
        if handle.place.is_elsewhere:
            terminal.note(f"{handle.place.root} is not to be written by this user: the page only shows its runs")
        terminal.print_line(handle.url)
        terminal.print_line("Ctrl-C ends it." if handle.is_started_here else "It was there already: Ctrl-C leaves it.")
        while (failure := handle.failure()) is None:
            ended.wait(0.5)
        raise TrainctlError(failure)
    except KeyboardInterrupt:
        terminal.print_line()
    finally:
        handle.end()
