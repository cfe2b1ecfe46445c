"""`trainctl pull`: an earlier run or a config of another format, written down as YAML."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from trainctl.cli import terminal
from trainctl.config import yaml
from trainctl.config.adopt import is_left_out
from trainctl.config.keys import join
from trainctl.config.loaded import Loaded
from trainctl.config.values import has_interpolation
from trainctl.sources.reading import KINDS, read_source

Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help=f"As in +from=SOURCE: KIND/PLACE, with the kinds {', '.join(KINDS)}.")
]


def pull(source: Source) -> None:
    """Print the config that +from=SOURCE would load, as YAML: trainctl pull SOURCE > conf/pulled/x.yaml.

    Values have the types that the source has: without an app there is no schema to fit them to.
    """
    loaded = read_source(source)
    values = loaded.values
    left_out: list[str] = []
    if not loaded.is_own:
        values = _plain_data(values, (), loaded, left_out)
    said = terminal.clean(f"pulled from {source}: {loaded.origin}")
    sys.stdout.write(f"# @package _global_\n# {said}\n{yaml.dumps(values)}")
    if left_out:
        terminal.note(
            f"left out, as they are missing, secrets or interpolations there: {', '.join(left_out)}", style="yellow"
        )


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
