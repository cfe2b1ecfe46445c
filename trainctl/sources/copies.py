"""The copies of what was loaded, in a run's `run.yaml`."""

from __future__ import annotations

from pathlib import Path

from trainctl.config.loaded import Loaded
from trainctl.errors import SourceError
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir


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
