"""Whether a run may be started from the files of a run dir: their format must be known, their owner trusted.

`FORMAT` is the number of the format in which the files of a run are written, `format` in `run.yaml`.

1 (without the key): the events of a run come before its changelog, which does not name requests. 2: the changelog is
the only record that counts, and names the request of each edit.
"""

from __future__ import annotations

import os
import pwd
from fnmatch import fnmatchcase
from pathlib import Path

from trainctl.errors import RunDirError
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir

FORMAT = 2
SAFE_DIRS = "TRAINCTL_SAFE_DIRS"


def check_trust(run: RunDir) -> None:
    """Refuse to start a run from the files of another user, or of a later format; also to resolve what they refer to.

    Raises:
        RunDirError: as `check_owner` and `check_format`.
    """
    check_owner(run)
    check_format(run)


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


def check_owner(run: RunDir) -> None:
    """Refuse a run dir of another user, or one with files to read that another user has written.

    `TRAINCTL_SAFE_DIRS` lists trusted directories, separated by colons; each counts with all below it and may have
    wildcards (`/data/team/*/outputs`, `*`). This is the rule of git's `safe.directory`.

    Raises:
        RunDirError: it is not trusted.
    """
    for path in (run.path, run.run, run.changelog, run.config.parent, run.config, run.config.parent / "hydra.yaml"):
        try:
            owner = os.stat(path).st_uid
        except OSError:
            continue  # not there: its reader says so
        if owner != os.geteuid() and not _is_safe(run.path):
            raise RunDirError(
                f"{str(path)!r} belongs to {_name(owner)}, and a run is started only from your own records; "
                f"if you trust them, set {SAFE_DIRS}={run.path.parent}"
            )


def _is_safe(path: Path) -> bool:
    trusted = [each for each in os.environ.get(SAFE_DIRS, "").split(":") if each]
    real = path.resolve()
    above = [str(each) for each in (real, *real.parents)]
    return any(fnmatchcase(one, each.rstrip("/") or "/") for each in trusted for one in above)


def _name(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"
