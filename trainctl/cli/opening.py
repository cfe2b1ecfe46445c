"""Running a Hydra program only up to its `@hydra.main` function, to look at its config."""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import typer

from trainctl.errors import AppError, TrainctlError

AppOption = Annotated[
    str, typer.Option("--app", metavar="PROGRAM", help="A Hydra program: a file, or a module as for python -m.")
]
OverridesArgument = Annotated[list[str] | None, typer.Argument(metavar="[OVERRIDES]...", help="As for the program.")]

APP = "train.py"

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class OpenApp:
    """A program stopped at its `@hydra.main` function.

    Attributes:
        hydra: Hydra's own object for it, which composes its configs.
        config_name: of its primary config.
    """

    hydra: Any
    config_name: str | None

    def compose(self, overrides: Sequence[str]) -> Any:
        """Compose its config; missing options stay missing."""
        from hydra.types import RunMode

        return self.hydra.compose_config(
            config_name=self.config_name,
            overrides=list(overrides),
            run_mode=RunMode.MULTIRUN,
            validate_sweep_overrides=False,
        )


class _ProgramSeen(BaseException):
    """Ends the program with what was found."""


def look_at(program: str, overrides: Sequence[str], look: Callable[[OpenApp], _Found]) -> _Found:
    """Run a program up to its `@hydra.main` function, which is not called, and return the result of `look`.

    What the program prints goes to standard error.

    Raises:
        AppError: there is no such program, it calls no such function, or it fails before that, or in its config.
    """
    from trainctl.compose import _hydra

    if not _hydra.IS_KNOWN:
        raise AppError(f"--app {program}: {_hydra.unknown()}")

    def seen(app: Any, config_name: str | None) -> None:
        raise _ProgramSeen(look(OpenApp(app, config_name)))

    before = sys.argv, list(sys.path)
    try:
        with contextlib.redirect_stdout(sys.stderr), _hydra.seeing_main(seen):
            _run(program, overrides)
    except _ProgramSeen as ending:
        found: _Found = ending.args[0]
        return found
    finally:
        sys.argv, sys.path[:] = before
    raise AppError(f"--app {program}: the program ended without calling a function that is decorated with @hydra.main")


def _run(program: str, overrides: Sequence[str]) -> None:
    is_file = os.path.isfile(program)
    if not is_file and (program.endswith(".py") or os.sep in program):
        raise AppError(f"--app {program}: there is no such file; name your program, such as --app train.py")
    sys.argv = [program, *overrides]
    sys.path.insert(0, os.path.dirname(os.path.abspath(program)) if is_file else os.getcwd())
    try:
        if is_file:
            runpy.run_path(program, run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    except TrainctlError:
        raise
    except SystemExit as leaving:
        raise AppError(
            f"--app {program}: the program called sys.exit({leaving.code!r}) before Hydra began"
        ) from leaving
    except Exception as error:
        raise AppError(f"--app {program}: {type(error).__name__}: {_with_causes(error)}") from error


def _with_causes(error: BaseException) -> str:
    """Return what an error and its causes say, but once where one repeats the other.

    >>> error, error.__cause__ = ValueError("+from=ini/x: no such file"), OSError("no such file")
    >>> _with_causes(error)
    '+from=ini/x: no such file'
    """
    said = " ".join(str(error).split())
    below = "" if error.__cause__ is None else _with_causes(error.__cause__)
    if below in said:
        return said
    return below if said in below else f"{said}: {below}"
