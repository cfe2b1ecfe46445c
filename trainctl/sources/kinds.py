"""The kinds of sources, and reading one by its text `KIND/PLACE`."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainctl.config.loaded import NEVER_LOADED, Loaded
from trainctl.config.yaml import MAX_DEPTH, is_deep
from trainctl.errors import SourceError
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import original_cwd
from trainctl.sources import remote
from trainctl.sources.files import read_file
from trainctl.sources.runs import read_run

FILE_KINDS = ("gin", "ini", "json", "yaml")
KINDS = ("gin", "ini", "json", "mlflow", "run", "wandb", "wandb_offline", "yaml")

_with_copies: contextvars.ContextVar[tuple[Path, ...]] = contextvars.ContextVar("with_copies", default=())


def is_source(text: str) -> bool:
    """Whether a text is written as a source is.

    >>> is_source("run/outputs/train/Norm_new"), is_source("run/"), is_source("norm/new")
    (True, False, False)
    """
    kind, _, place = text.partition("/")
    return kind in KINDS and bool(place)


def not_a_source(given: Any) -> str:
    """Return the sentence about a `+from=` that names no source, with the spelling that was probably meant.

    >>> not_a_source("defaults.ini")
    '+from=defaults.ini names no kind of source; write +from=ini/defaults.ini'
    """
    text = "" if given is None else str(given)
    first, _, place = text.partition("/")
    suffix = Path(text).suffix.lstrip(".").lower()
    kind = {"yml": "yaml"}.get(suffix, suffix)
    near = difflib.get_close_matches(first, KINDS, n=1) if place else []
    meant = ""
    if near:
        meant = f"{near[0]}/{place}"
    elif kind in FILE_KINDS:
        meant = f"{kind}/{text}"
    elif text.startswith(("http://", "https://")):
        meant = f"wandb/{text}"
    elif text and (original_cwd() / text).is_dir():
        meant = f"run/{text}"
    if meant:
        return f"+from={text} names no kind of source; write +from={meant}"
    return (
        f"+from={text} names no source; write +from=KIND/PLACE with one of the kinds {', '.join(KINDS)}, "
        f"or ++from={text} if you mean a key of that name"
    )


def read_source(text: str) -> Loaded:
    """Read an earlier run, or a file of another format.

    Args:
        text: `run/RUN_DIR`, `run/RUN_DIR@STEP`, `ini/FILE`, `wandb/ENTITY/PROJECT/RUN`, …

    Raises:
        SourceError: there is none, it cannot be reached, or it is not a config.
    """
    if not is_source(text):
        raise SourceError(not_a_source(text))
    for run in _with_copies.get():
        copy = copy_of(text, run)
        if copy is not None:
            return copy
    loaded = _read(text)
    if is_deep(loaded.values):
        raise SourceError(f"+from={text} is nested more than {MAX_DEPTH} deep, which is not a config")
    values = {key: value for key, value in loaded.values.items() if key not in NEVER_LOADED}
    left_out = [key for key in loaded.values if key in NEVER_LOADED and text.partition("/")[0] in FILE_KINDS]
    note = f"left out, as they say how a run is started and watched: {', '.join(left_out)}"
    return dataclasses.replace(loaded, values=values, notes=(note,) if left_out else ())


def _read(text: str) -> Loaded:
    kind, _, place = text.partition("/")
    if kind == "run":
        return read_run(text, place)
    return remote.read(text, kind) if kind in remote.KINDS else read_file(text, kind)


@contextlib.contextmanager
def taking_copies(runs: tuple[Path, ...]) -> Iterator[None]:
    """Inside the block, take the copies that run dirs keep instead of reading the sources, which may be gone."""
    token = _with_copies.set(runs)
    try:
        yield
    finally:
        _with_copies.reset(token)


def copy_of(source: str, run_path: Path) -> Loaded | None:
    """Return the copy of a source that a run has; None when it did not use it.

    Raises:
        SourceError: what its `run.yaml` has is not a copy.
    """
    run = RunDir.at(run_path)
    for record in files.read_mapping(run.run).get("from") or ():
        if isinstance(record, dict) and record.get("source") == source:
            try:
                return Loaded.from_dict(record)
            except TypeError as error:
                raise SourceError(f"{run.run} has no copy of +from={source} that can be read: {error}") from error
    return None
