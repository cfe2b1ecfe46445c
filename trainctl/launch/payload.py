"""What a fresh interpreter needs to run a job of this launcher: the context, and the program it came from."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cloudpickle
from hydra.core.singleton import Singleton
from hydra.types import TaskFunction

from trainctl.errors import TrainctlError
from trainctl.launch.compose import SweepContext
from trainctl.run.provenance import module_name, script_path

IMPORTING = "TRAINCTL_IMPORTING_MAIN"


def pack_context(context: SweepContext) -> bytes:
    """Pack the context; the task function by name where it has one, so that it is the program's own, else by value.

    Raises:
        Exception: whatever pickling raises for a context that cannot be packed.
    """
    program = {"sys_path": list(sys.path), "argv": list(sys.argv), "module": module_name(), "script": script_path()}
    name = _name_of(context.task_function)
    task: Any = None if name is not None else context.task_function
    values = (dataclasses.replace(context, task_function=task), Singleton.get_state())
    return pickle.dumps((program, name, cloudpickle.dumps(values)))


def unpack_context(data: bytes) -> SweepContext:
    """Rebuild the context; the user's program is imported first, as the standard library's spawn does it."""
    program, name, payload = pickle.loads(data)
    sys.path[:0] = [path for path in program["sys_path"] if path not in sys.path]
    sys.argv = program["argv"]
    _import_main(program)
    context: SweepContext
    context, singletons = pickle.loads(payload)
    Singleton.set_state(singletons)
    return context if name is None else dataclasses.replace(context, task_function=_find(*name))


def _name_of(task: TaskFunction) -> tuple[str, str, int] | None:
    """Return module, name and how often to take `__wrapped__`; None when the function cannot be found by name."""
    module = getattr(task, "__module__", "")
    name = getattr(task, "__qualname__", "<locals>")
    if "<locals>" in name or (module == "__main__" and script_path() is None):
        return None
    for depth in range(10):
        with contextlib.suppress(AttributeError, KeyError):
            if _find(module, name, depth) is task:
                return module, name, depth
    return None


def _find(module: str, name: str, depth: int) -> Any:
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part)
    for _ in range(depth):
        found = found.__wrapped__
    return found


def _import_main(program: dict[str, Any]) -> None:
    with _importing():
        _fix_up(program)


def _fix_up(program: dict[str, Any]) -> None:
    """Import the program as `__mp_main__` and make it `__main__`.

    Raises:
        TrainctlError: it ran, or ended, on being imported.
    """
    from multiprocessing import spawn

    try:
        if program["module"] is not None:
            spawn._fixup_main_from_name(program["module"])  # type: ignore[attr-defined]  # private, stable since 3.4
        elif program["script"] is not None:
            spawn._fixup_main_from_path(program["script"])  # type: ignore[attr-defined]  # private, stable since 3.4
    except SystemExit as leaving:
        raise TrainctlError(
            f"the program {program['script']} ends when it is imported (exit code {leaving.code}); "
            'call main() below `if __name__ == "__main__":`, as start=spawn needs it'
        ) from leaving


@contextmanager
def _importing() -> Iterator[None]:
    os.environ[IMPORTING] = "1"
    try:
        yield
    finally:
        del os.environ[IMPORTING]
