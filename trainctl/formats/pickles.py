"""Pickling by value what another process cannot import, with the file names that its tracebacks show."""

from __future__ import annotations

import io
import types
from collections import ChainMap
from collections.abc import Callable
from typing import Any, ClassVar

import cloudpickle


def dumps(value: Any) -> bytes:
    """Pickle by reference what stands in a module, by value what stands in `__main__` or inside a function."""
    return dumps_with(Pickler, value)


def dumps_with(pickler: type[Pickler], value: Any) -> bytes:
    """Pickle with a kind of `Pickler`."""
    with io.BytesIO() as file:
        pickler(file).dump(value)
        return file.getvalue()


def _reduce_code(code: types.CodeType) -> tuple[Any, ...]:
    make, arguments = cloudpickle.Pickler.dispatch_table[types.CodeType](code)
    return _code, (make, arguments, code.co_filename)


def _code(make: Callable[..., types.CodeType], arguments: tuple[Any, ...], filename: str) -> types.CodeType:
    return make(*arguments).replace(co_filename=filename)


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is untyped
    """Cloudpickle's, which calls the file of all code `<dynamic-code>` since 3.1.2: a traceback had no lines."""

    dispatch_table: ClassVar[Any] = ChainMap({types.CodeType: _reduce_code}, cloudpickle.Pickler.dispatch_table)
