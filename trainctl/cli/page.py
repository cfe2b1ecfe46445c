"""`trainctl panel`: the page for a directory of runs, while this command or a run uses it."""

from __future__ import annotations

import ipaddress
import logging
import threading
from pathlib import Path
from typing import Annotated

import typer

from trainctl.cli import terminal
from trainctl.cli.place import ROOT, find_root
from trainctl.config.settings import PanelSettings
from trainctl.errors import TrainctlError

HOST_HELP = "Address to listen on, or a name under which a proxy or tunnel shows the page (may be repeated)."
PREFIX_HELP = "Path below which a proxy shows the page, such as /trainctl."


def panel(
    root: Annotated[Path, typer.Argument(metavar="[DIR]", help="Whose runs to show.", show_default=True)] = ROOT,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 0,
    host: Annotated[list[str] | None, typer.Option(help=HOST_HELP, metavar="HOST", show_default=False)] = None,
    prefix: Annotated[str | None, typer.Option(help=PREFIX_HELP, metavar="PATH", show_default=False)] = None,
) -> None:
    """Show the page for the runs below a directory until Ctrl-C; print its link, and one for read-only access."""
    from trainctl.panel.auth.access import reader_url
    from trainctl.panel.server import handle as process
    from trainctl.panel.server.launch import ways_from_elsewhere

    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    addresses = [each for each in host or () if _is_address(each)]
    if len(addresses) > 1:
        raise TrainctlError(f"--host {addresses[0]} and --host {addresses[1]}: the page listens on one address")
    names = [each for each in host or () if each not in addresses]
    settings = PanelSettings(keep_min=0, port=port, hosts=names, prefix=prefix)
    if addresses:
        settings.address = addresses[0]
    is_asked = settings != PanelSettings(keep_min=0)
    handle = process.ensure(find_root(root), settings, as_it_is=not is_asked)
    if handle is None:
        raise typer.Exit(1)  # the reason has been logged
    ended = threading.Event()
    try:
        if handle.place.is_elsewhere:
            terminal.note(f"{handle.place.root} cannot be written by this user: the page only shows its runs")
        terminal.print_line(handle.url)
        if handle.is_started_here:
            for line in ways_from_elsewhere(settings, handle.url):
                terminal.print_line(line)
        terminal.print_line(f"to look only: {reader_url(handle.url)}")
        if handle.is_started_here:
            terminal.print_line("Ctrl-C ends it.")
        elif is_asked:
            terminal.print_line(
                "The page was running already and is in use, so it stays as it is: Ctrl-C leaves it running."
            )
        else:
            terminal.print_line("The page was running already: Ctrl-C leaves it running.")
        while (failure := handle.failure()) is None:
            ended.wait(0.5)
        raise TrainctlError(failure)
    except KeyboardInterrupt:
        terminal.print_line()
    finally:
        handle.end()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True
