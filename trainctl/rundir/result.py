"""What a finished run returned, kept so that a skipped job can still answer a sweeper."""

from __future__ import annotations

import math
from typing import Any

from trainctl.config.safe_yaml import is_deep
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir

MOST_BYTES = 64 * 2**20  # of a return value that is kept; tables show none that is longer than `files.MOST_SMALL`


def write_result(run: RunDir, value: Any) -> None:
    """Write `result.yaml`: `value:` when YAML can bring it back as it is, else its `type:` and `repr:`.

    The latter too for a value nested more than `MAX_DEPTH` deep, or of more than `MOST_BYTES`: nobody would read it.

    A value is never pickled: reading a pickle runs code, and a run dir may have been copied from anywhere.
    """
    try:
        plain = as_plain(value)
    except Exception:  # noqa: BLE001  # a list that contains itself, an `.item()` that raises whatever it likes
        plain = _NOT_PLAIN
    if plain is _NOT_PLAIN or is_deep({"value": plain}):
        _write_shown(run, value)
        return
    files.write_yaml(run.result, {"value": plain})
    if run.result.stat().st_size > MOST_BYTES:
        _write_shown(run, value)


def _write_shown(run: RunDir, value: Any) -> None:
    files.write_yaml(run.result, {"type": type(value).__qualname__, "repr": _shown(value)})


def read_result(run: RunDir) -> Any:
    """Read the stored return value; None when there is none or it could not be kept."""
    return files.read_mapping(run.result, most=MOST_BYTES).get("value")


def is_kept(run: RunDir) -> bool:
    """Whether the return value itself was stored, not only its type and repr."""
    return "value" in files.read_mapping(run.result, most=MOST_BYTES)


def _shown(value: Any) -> str:
    try:
        return repr(value)[:10_000]
    except Exception as error:  # noqa: BLE001  # it is code of the task, and the task is done
        return f"<{type(value).__qualname__}, whose repr raised {type(error).__name__}>"


_NOT_PLAIN = object()


def as_plain(value: Any) -> Any:
    """Return a value as plain Python (numbers of NumPy and torch by `.item()`), or a marker if it is not plain."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (list, tuple):
        items = [as_plain(item) for item in value]
        return _NOT_PLAIN if any(item is _NOT_PLAIN for item in items) else items
    if type(value) is dict:
        pairs = {key: as_plain(item) for key, item in value.items()}
        plain = all(type(key) in (str, int) for key in pairs) and not any(v is _NOT_PLAIN for v in pairs.values())
        return pairs if plain else _NOT_PLAIN
    item = getattr(value, "item", None)
    if callable(item) and math.prod(getattr(value, "shape", (0,))) == 1:
        return as_plain(item())
    return _NOT_PLAIN
