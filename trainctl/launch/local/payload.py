"""The data that a fresh interpreter needs to run a job: the sweep's context and the program."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import logging
import os
import pickle
import sys
import traceback
import types
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.abc import InspectLoader
from pathlib import Path
from typing import Any

import cloudpickle

from trainctl.compose import _hydra
from trainctl.compose.job import SweepContext
from trainctl.errors import TrainctlError
from trainctl.formats.pickles import Pickler, dumps_with
from trainctl.rundir.provenance import module_name, script_path

IMPORTING = "TRAINCTL_IMPORTING_MAIN"
_IMPORTED = "__mp_main__"  # the name of a program that is imported by a process of its own


def pack_context(context: SweepContext) -> bytes:
    """Pack the context; functions and classes by reference where a fresh interpreter can import them, else by value.

    Raises:
        Exception: whatever pickling raises for a context that cannot be packed.
    """
    module, script = (module_name(), script_path()) if _has_main() else (None, None)
    program = {"sys_path": list(sys.path), "argv": list(sys.argv), "module": module, "script": script}
    return pickle.dumps((program, dumps_with(_Referring, (context, _hydra.singletons()))))


def unpack_context(data: bytes) -> SweepContext:
    """Rebuild the context; the user's program is imported first, as the standard library's spawn does it.

    Raises:
        TrainctlError: the program starts its sweep on import, or refers to something that cannot be imported.
    """
    program, payload = pickle.loads(data)
    sys.path[:] = program["sys_path"]
    sys.argv = program["argv"]
    context: SweepContext
    try:
        _import_main(program)
        context, singletons = pickle.loads(payload)
    except TrainctlError:
        raise
    except Exception as error:  # whatever an import or a __setstate__ raises
        traceback.print_exc()
        raise TrainctlError(
            f"the program cannot be loaded in a fresh interpreter ({type(error).__name__}: {error}), as start=spawn "
            "needs it: its task function, and what that uses, must stand in modules that can be imported"
        ) from error
    _hydra.set_singletons(singletons)
    return context


class _Referring(Pickler):
    """Pickles by reference what `__main__` defines and what a decorator wraps too, but only what can be imported."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (types.FunctionType, type)) and obj.__module__ in sys.modules:
            module, name = obj.__module__, obj.__qualname__
            if _is_importable(module, name):
                depth = _depth(obj, module, name)
                if depth is not None and (depth or module == "__main__"):  # what cloudpickle would take apart
                    return _find, (module, name, depth)
            elif module != "__main__":
                with _by_value(sys.modules[module]):
                    return super().reducer_override(obj)
        return super().reducer_override(obj)


@contextmanager
def _by_value(module: types.ModuleType) -> Iterator[None]:
    is_ours = module.__name__ not in cloudpickle.list_registry_pickle_by_value()
    if is_ours:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        if is_ours:
            cloudpickle.unregister_pickle_by_value(module)


def _has_main() -> bool:
    """Whether `__main__` is a script, or a module by a name, that a fresh interpreter can import."""
    path, spec = script_path(), getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:
        return str(spec.name).rpartition(".")[2] != "__main__"  # a package, a directory, an archive
    return path is not None and os.path.isfile(path)


def _is_importable(module: str, name: str) -> bool:
    """Whether a fresh interpreter that imports the module gets the same object."""
    if module == "__main__":
        return _has_main() and name.partition(".")[0] not in _left_out(str(script_path()))
    package = module.partition(".")[0]
    finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
    spec = next(filter(None, (find(package, None) for find in finders if find is not None)), None)
    loaded = getattr(sys.modules.get(package), "__spec__", None)
    return spec is not None and (loaded is None or loaded.origin == spec.origin)


@cache
def _left_out(script: str) -> frozenset[str]:
    """Return the names that a script binds only below `if __name__ == "__main__":`."""
    try:
        tree = ast.parse(Path(script).read_bytes())
    except (OSError, SyntaxError, ValueError):  # changed since it was started
        return frozenset()
    guards = [node for node in tree.body if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)]
    inside = [node for guard in guards for statement in guard.body for node in ast.walk(statement)]
    return frozenset(
        node.name for node in inside if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    ) | frozenset(node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))


def _depth(obj: Any, module: str, name: str) -> int | None:
    """Return how many `__wrapped__` steps lead from the named object to this one; None if none do."""
    for depth in range(10):
        with contextlib.suppress(Exception):  # a module's __getattr__ raises what it likes
            if _find(module, name, depth) is obj:
                return depth
    return None


def _find(module: str, name: str, depth: int) -> Any:
    found: Any = sys.modules.get(module) or importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    for _ in range(depth):
        found = found.__wrapped__
    return found


def _import_main(program: dict[str, Any]) -> None:
    with _importing():
        try:
            main = _load_main(program["module"], program["script"])
        except SystemExit as leaving:
            raise TrainctlError(
                f"the program {program['script']} ends when it is imported (exit code {leaving.code}); "
                'what ends it belongs below `if __name__ == "__main__":`, as it is not run by jobs'
            ) from leaving
    if main is not None:
        _call_main(main)


def _load_main(module: str | None, script: str | None) -> types.ModuleType | None:
    """Import the program as `__mp_main__`, for which it does not run, and make it `__main__`.

    As the standard library's spawn does it, which leaves functions with other globals than those of their module.
    """
    main = types.ModuleType(_IMPORTED)
    if module is not None:
        spec = importlib.util.find_spec(module)
        if spec is None or not isinstance(spec.loader, InspectLoader):
            raise ImportError(f"no module named {module!r}")
        code = spec.loader.get_code(module)
        vars(main).update(__file__=spec.origin, __spec__=spec, __package__=spec.parent, __loader__=spec.loader)
    elif script is not None:
        code = compile(Path(script).read_bytes(), script, "exec", dont_inherit=True)
        main.__file__ = script
    else:
        return None
    sys.modules["__main__"] = sys.modules[_IMPORTED] = main
    assert code is not None
    with (
        _hydra.ending_at_main()
    ):  # without `if __name__ == "__main__":`: the launcher, too, was no further when it began
        exec(code, vars(main))  # noqa: S102  # the user's own program
    return main


def _call_main(main: types.ModuleType) -> None:
    """Call the imported program `__main__` as in a forked job: what it logs, pickles and says names it so."""
    main.__name__ = "__main__"
    for value in vars(main).values():
        if isinstance(value, (types.FunctionType, type)) and value.__module__ == _IMPORTED:
            value.__module__ = "__main__"
    loggers = logging.root.manager.loggerDict
    for name in [each for each in loggers if each.partition(".")[0] == _IMPORTED]:
        called = name.replace(_IMPORTED, "__main__", 1)
        logger = loggers.setdefault(called, loggers[name])
        if isinstance(logger, logging.Logger):
            logger.name = called


@contextmanager
def _importing() -> Iterator[None]:
    os.environ[IMPORTING] = "1"
    try:
        yield
    finally:
        del os.environ[IMPORTING]
