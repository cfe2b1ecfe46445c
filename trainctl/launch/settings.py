"""The settings of the `slots` launcher: `hydra.launcher.*`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainctl.errors import SettingError

STARTS = ("auto", "fork", "spawn")
PROGRESS = ("plain", "off")


@dataclass
class SlotLauncherConf:
    _target_: str = "hydra_plugins.hydra_trainctl.slots.SlotLauncher"

    # what jobs run on: auto (every visible GPU, else one CPU slot per two cores), a count, or a list such as
    # [0, 1, "2,3", 0, cpu], in which each entry is one job's devices and may repeat
    slots: Any = "auto"

    # how a job's process is made: fork (from a zygote), spawn (a fresh interpreter), auto (fork where it is safe)
    start: str = "auto"

    # seconds between TERM and KILL when jobs are ended
    grace_s: float = 10.0

    # what is said of the jobs: plain (a line per event), off
    progress: str = "plain"


@dataclass(frozen=True, slots=True)
class LauncherSettings:
    """The launcher's settings, checked."""

    slots: str | int | list[str]
    start: str
    grace_s: float
    progress: str


def check_settings(
    slots: Any = "auto", start: str = "auto", grace_s: float = 10.0, progress: str = "plain"
) -> LauncherSettings:
    """Check the launcher's settings before any job starts.

    Raises:
        SettingError: names the key, the value, and what is allowed.
    """
    for name, value, allowed in (("start", start, STARTS), ("progress", progress, PROGRESS)):
        if value not in allowed:
            raise SettingError(f"hydra.launcher.{name}={value!r} is not known; allowed are {', '.join(allowed)}")
    if isinstance(grace_s, bool) or not isinstance(grace_s, (int, float)) or not grace_s >= 0:
        raise SettingError(f"hydra.launcher.grace_s must be a number of seconds, at least 0, but got {grace_s!r}")
    return LauncherSettings(slots=_check_slots(slots), start=start, grace_s=float(grace_s), progress=progress)


def _check_slots(slots: Any) -> str | int | list[str]:
    allowed = "allowed are auto, a count from 1, or a list of devices such as [0, 1, '2,3', cpu]"
    if slots == "auto":
        return "auto"
    if isinstance(slots, int) and not isinstance(slots, bool):
        if slots < 1:
            raise SettingError(f"hydra.launcher.slots={slots} would run nothing; {allowed}")
        return slots
    if isinstance(slots, (str, bytes)) or not hasattr(slots, "__iter__"):
        raise SettingError(f"hydra.launcher.slots={slots!r} is neither auto, a count nor a list; {allowed}")
    entries = list(slots)
    if not entries:
        raise SettingError(f"hydra.launcher.slots=[] would run nothing; {allowed}")
    for entry in entries:
        if isinstance(entry, bool) or not isinstance(entry, (int, str)):
            raise SettingError(f"hydra.launcher.slots has the entry {entry!r}; {allowed}")
    return [str(entry) for entry in entries]
