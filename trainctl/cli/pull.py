"""`trainctl pull`: an earlier run or a config of another format, written down as YAML."""

from __future__ import annotations

import sys
import textwrap
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
    sys.stdout.write(f"# @package _global_\n# {said}\n{commented(values, loaded.help)}")
    if left_out:
        terminal.note(
            f"left out, as they are missing, secrets or interpolations there: {', '.join(left_out)}", style="yellow"
        )


def commented(values: Mapping[Any, Any], comments: Mapping[str, str], above: tuple[str, ...] = ()) -> str:
    """Return a mapping as YAML, with what the source says of a key as a comment above it.

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
