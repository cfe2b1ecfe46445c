"""The owner of a run dir: code of another user is not executed, and interpolations are not resolved."""

from __future__ import annotations

import os
import pwd
from fnmatch import fnmatchcase
from pathlib import Path

from trainctl.errors import RunDirError
from trainctl.rundir.paths import RunDir

SAFE_DIRS = "TRAINCTL_SAFE_DIRS"


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
                f"{str(path)!r} belongs to {_name(owner)}, and a run is started only from records of your own; "
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
