"""The number of the format in which the files of a run are written: `format` in `run.yaml`, described in the docs.

1 (without the key): the events of a run come before its changelog, which does not name requests. 2: the changelog is
the only record that counts, and names the request of each edit.
"""

from __future__ import annotations

from trainctl.errors import RunDirError
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir

FORMAT = 2


def check_format(run: RunDir) -> None:
    """Refuse to start a run again from files of a later format; all earlier ones are read.

    Raises:
        RunDirError: the format is later than the one that is written here.
    """
    written = files.read_mapping(run.run).get("format", 1)
    if isinstance(written, int) and written > FORMAT:
        raise RunDirError(
            f"{str(run.path)!r} has format {written}, and this version of hydra-trainctl reads formats up to {FORMAT}; "
            "install the version that wrote it, which its run.yaml names among the packages"
        )
