"""The return value of a finished run, kept so that a skipped job can return it to a sweeper."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainctl.config.yaml import is_deep
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.text import clean_line

MOST_BYTES = 64 * 2**20  # of a return value that is kept; tables show none that is longer than `files.MOST_SMALL`
_MOST_NUMBERS = 10_000  # of an array, and of values in other types than YAML has
_LONGEST = 60  # characters of a type's name
_NOT_KEPT = "its return value could not be stored, so None is given back"

# of arrays that come back as they were
_DTYPES = frozenset(
    ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
)
_OF_TORCH = (_DTYPES | {"bfloat16"}) - {"uint16", "uint32", "uint64"}


@dataclass(frozen=True, slots=True)
class StoredResult:
    """The stored return value of a run.

    Attributes:
        value: of the types that the run returned, where these are known here; None when it was not kept.
        loss: what differs from the returned value, as a clause; empty if nothing does.
    """

    value: Any
    loss: str


def write_result(run: RunDir, value: Any) -> None:
    """Write `result.yaml`: `value:` when YAML can bring it back, else its `type:` and `repr:`.

    So it does for values nested more than `MAX_DEPTH` deep, or of more than `MOST_BYTES`, which no reader accepts.
    `types:` says what YAML does not tell: which lists are tuples or arrays, and which numbers are of NumPy or torch.

    A value is never pickled: reading a pickle runs code, and a run dir may have been copied from anywhere.
    """
    types: list[dict[str, Any]] = []
    try:
        plain = _plain(value, (), types)
    except Exception:  # noqa: BLE001  # a list that contains itself, an `.item()` that raises whatever it likes
        plain = _NOT_PLAIN
    if plain is _NOT_PLAIN or is_deep({"value": plain}):
        _write_shown(run, value)
        return
    if len(types) > _MOST_NUMBERS:
        types = [{"at": [], "type": f"{types[0]['type']} and other types"}]
    files.write_yaml(run.result, {"value": plain, **({"types": types} if types else {})})
    if run.result.stat().st_size > MOST_BYTES:
        _write_shown(run, value)


def _write_shown(run: RunDir, value: Any) -> None:
    files.write_yaml(run.result, {"type": type(value).__qualname__, "repr": _shown(value)})


def read_result(run: RunDir) -> Any:
    """Read the stored return value as plain Python; None when there is none or it could not be kept."""
    return files.read_mapping(run.result, most=MOST_BYTES).get("value")


def stored_result(run: RunDir) -> StoredResult:
    """Read the stored return value with the types that it had."""
    record = files.read_mapping(run.result, most=MOST_BYTES)
    if "value" not in record:
        return StoredResult(None, _NOT_KEPT)
    lost: set[str] = set()
    value = _restored(record["value"], (), _types_by_place(record.get("types")), lost)
    names = ", ".join(sorted(lost))
    loss = f"its return value is given back as plain Python, since {names} cannot be restored" if lost else ""
    return StoredResult(value, loss)


def _shown(value: Any) -> str:
    try:
        return repr(value)[:10_000]
    except Exception as error:  # noqa: BLE001  # it is code of the task, and the task is done
        return f"<{type(value).__qualname__}, whose repr raised {type(error).__name__}>"


_NOT_PLAIN = object()


def _plain(value: Any, at: tuple[Any, ...], types: list[dict[str, Any]]) -> Any:
    """Return a value as plain Python, or a marker if it is not plain; note the paths with other types."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (list, tuple):
        if type(value) is tuple:
            types.append({"at": list(at), "type": "tuple"})
        items = [_plain(item, (*at, place), types) for place, item in enumerate(value)]
        return _NOT_PLAIN if any(item is _NOT_PLAIN for item in items) else items
    if type(value) is dict:
        pairs = {key: _plain(item, (*at, key), types) for key, item in value.items()}
        plain = all(type(key) in (str, int) for key in pairs) and not any(v is _NOT_PLAIN for v in pairs.values())
        return pairs if plain else _NOT_PLAIN
    shape = tuple(map(int, getattr(value, "shape", (0,))))
    if math.prod(shape) <= _MOST_NUMBERS and (kind := _array_type(value, shape)):
        types.append({"at": list(at), **kind})
        return value.item() if math.prod(shape) == 1 else value.tolist()
    item = getattr(value, "item", None)
    if callable(item) and math.prod(shape) == 1:
        types.append({"at": list(at), "type": _name(value)})
        return _plain(item(), at, types)
    return _NOT_PLAIN


def _array_type(value: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the note for a number or array of NumPy or torch that can be restored."""
    numpy: Any = sys.modules.get("numpy")
    torch: Any = sys.modules.get("torch")
    dtype = str(getattr(value, "dtype", "")).removeprefix("torch.")
    if numpy is not None and isinstance(value, numpy.generic) and dtype in _DTYPES:
        return {"type": "numpy.generic", "dtype": dtype}
    if numpy is not None and type(value) is numpy.ndarray and dtype in _DTYPES:
        return {"type": "numpy.ndarray", "dtype": dtype, "shape": list(shape)}
    if torch is not None and type(value) is torch.Tensor and dtype in _OF_TORCH:
        return {"type": "torch.Tensor", "dtype": dtype, "shape": list(shape)}
    return {}


def _name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _types_by_place(types: Any) -> dict[tuple[Any, ...], Mapping[str, Any]]:
    """Return the types noted in a file, by path; invalid entries are skipped."""
    found: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for each in types if isinstance(types, list) else ():
        at = each.get("at") if isinstance(each, dict) else None
        if isinstance(at, list) and all(type(part) in (str, int) for part in at):
            found.setdefault(tuple(at), each)
    return found


def _restored(
    value: Any, at: tuple[Any, ...], types: Mapping[tuple[Any, ...], Mapping[str, Any]], lost: set[str]
) -> Any:
    kind = types.get(at, {})
    if kind.get("type") in ("numpy.generic", "numpy.ndarray", "torch.Tensor"):
        try:
            return _array(value, str(kind["type"]), str(kind.get("dtype")), kind.get("shape", ()))
        except (ImportError, TypeError, ValueError, OverflowError, RuntimeError):
            lost.add(str(kind["type"]))
            return value
    if isinstance(value, list):
        value = [_restored(item, (*at, place), types, lost) for place, item in enumerate(value)]
    elif isinstance(value, dict):
        value = {key: _restored(item, (*at, key), types, lost) for key, item in value.items()}
    if kind and (kind.get("type") != "tuple" or not isinstance(value, list)):
        lost.add(clean_line(str(kind.get("type"))[:_LONGEST]))
        return value
    return tuple(value) if kind else value


def _array(value: Any, kind: str, dtype: str, shape: Any) -> Any:
    """Return a number or an array of NumPy or torch.

    Raises:
        ImportError, TypeError, ValueError, OverflowError, RuntimeError: the parts do not fit, or the library is missing
            here.
    """
    if dtype not in (_OF_TORCH if kind == "torch.Tensor" else _DTYPES):
        raise TypeError(f"no {kind} of {dtype}")
    if kind == "torch.Tensor":
        torch: Any = sys.modules.get("torch")
        if torch is None:  # seconds to load, for a program that has not done so itself
            raise ImportError("torch")
        return torch.tensor(value, dtype=getattr(torch, dtype)).reshape(tuple(shape))
    import numpy as np  # most runs do not need it

    array = np.array(value, dtype=dtype)
    return array[()] if kind == "numpy.generic" else array.reshape(tuple(shape))
