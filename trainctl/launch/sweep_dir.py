"""The directory of a sweep: its name, and whether it can be used."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import re
from collections import defaultdict
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from trainctl.config.overrides import quoted
from trainctl.config.settings import settings_of
from trainctl.errors import RunDirError
from trainctl.rundir.lock import keep_in
from trainctl.rundir.paths import own_dir

log = logging.getLogger(__name__)

# of hydra/conf/hydra/output/default.yaml; who leaves it so has asked for no resuming
_HYDRAS_OWN = "multirun/${now:%Y-%m-%d}/${now:%H-%M-%S}"
_NAMES_TIME = re.compile(r"\$\{now:[^}]*\}")


def settle_sweep_dir(config: DictConfig) -> None:
    """Make a sweep dir with the time in its name for this launcher alone, and have all configs of the sweep name it.

    From here on the locks of the sweep are where `trainctl.locks` says.

    The one that the config names, else `NAME.2`, `NAME.3`, … while other launchers have the name: two that start in
    one second are two sweeps. Nothing is done where the name has no time in it, and with `hydra.launcher.resume=true`:
    launchers may share such a dir.

    Raises:
        RunDirError: it cannot be made. SettingError: the locks cannot be there.
    """
    keep_in(settings_of(config).locks)
    if OmegaConf.select(config, "hydra.launcher.resume") is True or not _is_dated(config):
        return
    if OmegaConf.select(config, "hydra.launcher.resume") is not False:
        _tell_what_is_lost(config)
    path = Path(str(config.hydra.sweep.dir))
    for number in itertools.count(1):
        own = path if number == 1 else path.with_name(f"{path.name}.{number}")
        make_sweep_dir(own)
        if _take(own):
            break
    name_sweep_dir(config, str(own))


def name_sweep_dir(config: DictConfig, path: str) -> None:
    """Set this sweep dir in the config of a sweep and of all its jobs."""
    with read_write(config.hydra.sweep), open_dict(config.hydra.sweep):
        config.hydra.sweep.dir = path
    with read_write(config.hydra.overrides), open_dict(config.hydra.overrides):  # from which jobs are composed
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(path)}")


def _tell_what_is_lost(config: DictConfig) -> None:
    """Warn that a project's own dated sweep dir is new each time, and name the lines with which a sweep resumes."""
    written = str(OmegaConf.to_container(config.hydra.sweep, resolve=False)["dir"])  # type: ignore[call-overload, index]
    if written == _HYDRAS_OWN:
        return
    parts = _NAMES_TIME.sub("\0", written).split("/")  # the format of a time may have slashes too
    stable = "/".join(part for part in parts if "\0" not in part)
    if stable in ("", written):
        stable = "outputs/${hydra.job.name}"  # the time comes from another key, or nothing else is there
    log.warning(
        "the same command will not resume this sweep: hydra.sweep.dir=%s is a new directory each time; to resume, set "
        "hydra: {sweep: {dir: %s, subdir: '${trainctl_name:}'}}",
        written,
        stable,
    )


def _is_dated(config: DictConfig) -> bool:
    """Whether the name contains `${now:…}`, also through other keys."""
    before = OmegaConf.get_cache(config)
    kept = {name: values for name, values in before.items() if name != "now"}  # `hydra:` has no answer everywhere
    OmegaConf.set_cache(config, defaultdict(dict, kept))
    try:
        str(config.hydra.sweep.dir)
        return bool(OmegaConf.get_cache(config).get("now"))
    finally:
        OmegaConf.set_cache(config, before)


def _take(path: Path) -> bool:
    """Mark a directory as taken by a launcher; return whether it was free."""
    if (path / "multirun.yaml").exists():  # of Hydra's own launchers
        return False
    try:
        own_dir(path).mkdir(mode=0o700)
    except FileExistsError:
        return False
    except OSError as error:
        raise RunDirError(f"the sweep dir {str(path)!r} cannot be used: {error.strerror or error}") from error
    return True


def check_sweep_dir(path: Path) -> None:
    """Refuse a sweep dir that cannot be written, before Hydra finds out with a traceback; nothing is made.

    Raises:
        RunDirError: the disk is full or read-only, or belongs to somebody else.
    """
    there = next(each for each in (path, *path.parents) if each.exists())
    disk = os.statvfs(there)
    if disk.f_flag & os.ST_RDONLY:
        reason = errno.EROFS
    elif disk.f_blocks and not (disk.f_bfree if os.geteuid() == 0 else disk.f_bavail):
        reason = errno.ENOSPC
    elif not os.access(there, os.W_OK | os.X_OK):
        reason = errno.EACCES
    else:
        return
    raise RunDirError(
        f"the sweep dir {str(path)!r} cannot be written: {os.strerror(reason)}; "
        "make room, or set another hydra.sweep.dir"
    )


def make_sweep_dir(path: Path) -> None:
    """Make the sweep dir, or use an existing one.

    Raises:
        RunDirError: it cannot be made, or something else stands there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirError(
            f"the sweep dir {str(path)!r} cannot be made: {error.strerror or error}; set another hydra.sweep.dir"
        ) from error
