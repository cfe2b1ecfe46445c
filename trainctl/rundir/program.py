"""The program and the task function of a run."""

from __future__ import annotations

import os
import sys
import sysconfig
import weakref
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from trainctl.rundir.provenance import Start, original_cwd

_DEEPEST = 10  # decorators around one function
_WRAPPER_OF = "hydra_zen."  # `zen(f)` keeps the function as an attribute

_launched: dict[tuple[str, str], weakref.ref[Any]] = {}


@dataclass(frozen=True, slots=True)
class Program:
    """A program, and the function of it that Hydra calls.

    Attributes:
        name: the path of its file relative to its project; of an installed one its module. Empty: it has no file.
        script: its file, absolute, symbolic links followed; None for what is installed, wherever that is.
        function: the task function's qualified name, with its module where that is not the program itself. None when
            no import leads to this very function: a lambda, a closure, a function of a notebook.
    """

    name: str
    script: str | None
    function: str | None


NO_PROGRAM = Program("", None, None)


def program_of(task: Any, file: str | None = None, start: Start | None = None) -> Program:
    """Return the program of a task function.

    Args:
        task: the function, decorated or not; None where it is not known.
        file: the file that counts as the program, if that is not Python code (`trainctl run --config FILE`).
        start: how the program was started, if another process was.
    """
    start = start or Start.of_this_process()
    inner = _unwrapped(task)
    module = getattr(inner, "__module__", None)
    script, installed = _real(start.script), start.module
    home = script if module == "__main__" else _file_of(module)
    if script is None or _is_command(script) or (_is_installed(script) and home and not _is_installed(home)):
        script, installed = home, module
    if file is not None:
        script, installed = _real(file), None
    name = _name_of(inner)
    if name is not None and not (module == "__main__" or home == script):
        name = f"{module}:{name}"
    if script is None:
        return Program("" if module in (None, "__main__") else str(module), None, name)
    if installed and _is_installed(script):
        program = Program(installed, None, name)
    else:
        program = Program(_within_project(script, str(original_cwd())), script, name)
    return program if _is_first(task, program) else Program(program.name, program.script, None)


def _unwrapped(task: Any) -> Any:
    """Return the function that decorators have left in `__wrapped__`."""
    for _ in range(_DEEPEST):
        inner = getattr(task, "__wrapped__", None)
        if inner is None and type(task).__module__.startswith(_WRAPPER_OF):
            inner = getattr(task, "func", None)
        if inner is None:
            break
        task = inner
    return task


def _name_of(inner: Any) -> str | None:
    """Return the qualified name of a function if it can be found by that name in its module, decorated or not."""
    name, module = getattr(inner, "__qualname__", None), getattr(inner, "__module__", None)
    if not (isinstance(name, str) and isinstance(module, str)) or _file_of(module) is None:
        return None
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part, None)
    return name if _unwrapped(found) is inner else None


def _is_first(task: Any, program: Program) -> bool:
    """Whether no other function has been launched under this name in this process.

    Two closures that decorate one function differ in what they hold, and nothing tells them apart by name.
    """
    if program.function is None:
        return True
    key = (program.name, program.function)
    try:
        return _launched.setdefault(key, weakref.ref(task))() is task
    except TypeError:  # it takes no weak references
        return False


def _file_of(module: str | None) -> str | None:
    return _real(getattr(sys.modules.get(module or ""), "__file__", None))


def _real(path: str | None) -> str | None:
    return None if path is None else os.path.realpath(path)


@cache
def _is_command(script: str) -> bool:
    """Whether an installer made a script for an entry point: then the program is the module that it imports."""
    places = [sysconfig.get_path("scripts"), sysconfig.get_path("scripts", f"{os.name}_user"), *_beside_python()]
    return os.path.dirname(script) in map(os.path.realpath, places)


def _beside_python() -> list[str]:
    return [os.path.dirname(sys.executable)] if sys.executable else []


def _is_installed(file: str) -> bool:
    return bool({"site-packages", "dist-packages"} & set(Path(file).parts))


@cache
def _within_project(script: str, cwd: str) -> str:
    """Return a script's path from its project: its repository, else where it was started; absolute when outside."""
    for above in Path(script).parents:
        if (above / ".git").exists():
            return Path(script).relative_to(above).as_posix()
    return relative(script, os.path.realpath(cwd))


def relative(script: str, place: str) -> str:
    """Return a path relative to a directory above it, else unchanged.

    >>> relative("/a/b/train.py", "/a"), relative("/a/train.py", "/a/b")
    ('b/train.py', '/a/train.py')
    """
    return Path(script).relative_to(place).as_posix() if Path(script).is_relative_to(place) else script
