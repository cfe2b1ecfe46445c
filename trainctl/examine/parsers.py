"""Users' parsers: functions of a run, or of mlrunner's three arguments."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trainctl.errors import SettingError
from trainctl.examine.row import Row
from trainctl.rundir.paths import RunDir

Parser = Callable[..., Any]


class Experiment(NamedTuple):
    """The run as a parser of three arguments sees it: entries of `metric` become columns."""

    cache: dict[str, Any]
    metric: dict[str, Any]
    param: dict[str, Any]


def arity(parser: Parser) -> int:
    """Return 1 for `(run) -> dict`, 3 for mlrunner's `(path, experiment, caches)`.

    Raises:
        SettingError: it takes something else, or is not a function.
    """
    if not callable(parser):
        raise SettingError(f"the parser {parser!r} is not a function; name it without calling it: add(bleu)")
    try:
        signature = inspect.signature(parser)
    except (TypeError, ValueError):
        return 1  # a builtin
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    empty = inspect.Parameter.empty
    needed = [one for one in signature.parameters.values() if one.kind in plain and one.default is empty]
    for number in (1, 3):
        with contextlib.suppress(TypeError):
            signature.bind(*range(number))
            return number
    name = getattr(parser, "__name__", repr(parser))
    raise SettingError(
        f"the parser {name} takes {len(needed)} arguments; allowed are (run) -> dict and (path, experiment, caches)"
    )


def apply(parsers: Sequence[Parser], row: Row, experiment: Experiment, caches: dict[str, Any]) -> None:
    """Let each parser look at a run; one that raises is a problem of the row, and the others still look."""
    given = row.parameters
    experiment.param.update({key: given.get(key) for key in given.keys})
    before = dict(experiment.param)
    for parser in parsers:
        name = getattr(parser, "__name__", type(parser).__name__)
        try:
            if arity(parser) == 1:
                found = parser(row.run)
                if found is not None and not isinstance(found, Mapping):
                    raise TypeError(f"it returned {type(found).__name__}, not a mapping of names to values")  # noqa: TRY301
                row.found.update({str(key): _plain(value) for key, value in (found or {}).items()})
            else:
                parser(row.run.path, experiment, caches)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a user's code: one run must not spoil the table
            row.problems.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())}"[:500])
    row.found.update({str(key): _plain(value) for key, value in experiment.metric.items()})
    row.start |= {key: value for key, value in experiment.param.items() if before.get(key) is not value}


def _plain(value: Any) -> Any:
    """Return Python's number for one of NumPy or torch; anything else is left as it is."""
    if getattr(value, "shape", None) != ():
        return value
    try:
        return value.item()
    except (AttributeError, TypeError, ValueError, RuntimeError):  # something else that has a shape
        return value


def latest_log(command: str, path: str | os.PathLike[str] | RunDir, index: int = -1) -> Path | None:
    """Return the log of the latest attempt of a command in a run dir; `index` counts all of them from the oldest.

    Knows the names of trainctl (`train.log`, which is later than `train.1.log`) and of mlrunner
    (`log.train.20220316.030151`, earlier than those). None when there are not that many logs.
    """
    directory = path.path if isinstance(path, RunDir) else Path(path)
    of_trainctl = re.compile(re.escape(command) + r"(?:\.(\d+))?\.log")
    of_mlrunner = re.compile(r"log\." + re.escape(command) + r"\.(\d+(?:\.\d+)*)")
    found: list[tuple[Any, Path]] = []
    for name in os.listdir(directory) if directory.is_dir() else ():
        if match := of_trainctl.fullmatch(name):
            found.append(((1, int(match[1]) if match[1] else float("inf"), ""), directory / name))
        elif match := of_mlrunner.fullmatch(name):
            found.append(((0, 0, match[1]), directory / name))
    logs = [log for _, log in sorted(found)]
    return logs[index] if -len(logs) <= index < len(logs) else None
