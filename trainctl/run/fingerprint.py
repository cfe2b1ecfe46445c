"""A hash of a model's state, so that two runs can be compared by one line."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

FINGERPRINT = "fingerprint"  # the name of the metric
_DIGITS = 32


def fingerprint(model: Any) -> str:
    """Return a hash of all arrays and values in `model`: equal exactly when names, types, shapes and bits are.

    Args:
        model: what has a `state_dict()`, an array of NumPy, a tensor, a plain value, or mappings and lists of these.

    Raises:
        TypeError: it holds something else.

    >>> fingerprint({"a": [1.0, 2]}) == fingerprint({"a": [1.0, 2.0]})
    False
    """
    digest = hashlib.sha256()
    for part in _parts(model, "model"):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:_DIGITS]


def _parts(value: Any, path: str) -> Iterator[bytes]:
    """Yield what is hashed: each leaf's path, what kind it is, and its bits."""
    if callable(getattr(value, "state_dict", None)):
        yield from _parts(value.state_dict(), path)
    elif isinstance(value, Mapping):
        yield f"{path}: mapping of {len(value)}".encode()
        for key in sorted(value, key=repr):
            yield from _parts(value[key], f"{path}[{key!r}]")
    elif isinstance(value, list | tuple):
        yield f"{path}: list of {len(value)}".encode()
        for place, item in enumerate(value):
            yield from _parts(item, f"{path}[{place}]")
    elif value is None or isinstance(value, bool | int | float | str | bytes):
        yield f"{path}: {type(value).__name__} {value!r}".encode(errors="backslashreplace")
    else:
        yield from _array(value, path)


def _array(value: Any, path: str) -> Iterator[bytes]:
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(value, torch.Tensor):
        whole = value.detach().cpu().contiguous()
        yield f"{path}: {value.dtype} {tuple(value.shape)}".encode()
        yield whole.flatten().view(torch.uint8).numpy().tobytes()  # bfloat16 has no other way to NumPy
    elif numpy is not None and isinstance(value, numpy.ndarray | numpy.generic) and not value.dtype.hasobject:
        yield f"{path}: {value.dtype.str} {value.shape}".encode()
        yield value.tobytes()
    else:
        kind = type(value)
        raise TypeError(
            f"live.fingerprint: {path} is of type {kind.__module__}.{kind.__qualname__}; allowed are arrays, tensors, "
            "plain values, mappings and lists of these, and what has a state_dict()"
        )
