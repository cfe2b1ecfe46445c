"""The settings of the `slots` launcher: `hydra.launcher.*`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainctl.config.values import is_finite
from trainctl.errors import SettingError
from trainctl.launch.slots.slot import check_entry

STARTS = ("auto", "fork", "spawn")
PROGRESS = ("auto", "rich", "plain", "off")
RERUNS = ("none", "failed", "all")
CAUSES = ("crash", "oom", "timeout", "error")


@dataclass
class SweepConf:
    """The settings that all launchers of this package share."""

    # how often a failed job is tried again
    retries: int = 0

    # after which failures a job is tried again: crash (killed, or died without an answer), oom, timeout,
    # error (it raised)
    retry_on: list[str] = field(default_factory=lambda: ["crash", "oom", "timeout"])

    # seconds between SIGTERM and SIGKILL when a job is ended
    grace_s: float = 10.0

    # start no more jobs after this many failures; 1 is fail-fast
    stop_after_failures: int | None = None

    # run only this many jobs, from the beginning; null runs all
    first: int | None = None

    # which earlier jobs run again: none (only those that never ended), failed (all that are not done), all
    rerun: str = "failed"

    # whether jobs of earlier sweeps in the sweep directory count: true, false (every job runs in a directory of its
    # own), auto (true unless the directory has the time in its name)
    resume: Any = "auto"

    # run in the background: the terminal may close; `trainctl ls` and `trainctl stop` reach the sweep by its directory
    detach: bool = False

    # list the jobs and what would happen to them; write nothing
    dry_run: bool = False

    # how jobs are shown: auto (a live table on a terminal, else plain lines), rich, plain, off
    progress: str = "auto"


@dataclass
class SlotLauncherConf(SweepConf):
    """`hydra/launcher=slots`."""

    _target_: str = "hydra_plugins.hydra_trainctl.slots.SlotLauncher"

    # what jobs run on: auto (every visible GPU, else one CPU slot per two cores), a count, or a list such as
    # [0, 1, "2,3", 0, cpu], in which each entry is one job's devices and may repeat
    slots: Any = "auto"

    # with slots=auto: GPUs for each job
    gpus_per_job: int | None = None

    # with slots=auto: jobs at once on each GPU
    jobs_per_gpu: int | None = None

    # start a job on a GPU only while this much of its memory is free, less what jobs just started there will use
    min_free_mib: int | None = None

    # start a job on a GPU only while other processes use at most this percentage of it
    max_foreign_util: float | None = None

    # seconds between two starts on one GPU
    stagger_s: float = 0.0

    # use GPUs that another launcher of yours on this machine uses now
    share: bool = False

    # how a job's process is made: fork, spawn (a fresh interpreter), auto (fork where it is safe)
    start: str = "auto"

    # end a job after this many minutes
    timeout_min: float | None = None


@dataclass(frozen=True, slots=True)
class LauncherSettings:
    """The launcher's settings, checked."""

    slots: str | int | list[str]
    gpus_per_job: int | None
    jobs_per_gpu: int | None
    min_free_mib: int | None
    max_foreign_util: float | None
    stagger_s: float
    share: bool
    start: str
    retries: int
    retry_on: frozenset[str]
    timeout_min: float | None
    grace_s: float
    stop_after_failures: int | None
    first: int | None
    rerun: str
    resume: bool | str
    detach: bool
    dry_run: bool
    progress: str


def check_engine(
    conf: type[SweepConf], options: Mapping[str, Any], checks: Mapping[str, Check]
) -> tuple[LauncherSettings, dict[str, Any]]:
    """Check the settings of a launcher on a cluster: return those of the sweep, and the engine's own with defaults.

    Raises:
        SettingError: names the key, the value, and what is allowed.
    """
    shared = {each.name for each in dataclasses.fields(SweepConf)}
    own = {each.name for each in dataclasses.fields(conf)} - shared - {"_target_"}
    check_known(options, shared | own)
    settings = check_settings(**{name: value for name, value in options.items() if name in shared})
    defaults = dataclasses.asdict(conf())
    values = {name: options.get(name, defaults[name]) for name in own}
    return settings, values | {name: check(f"hydra.launcher.{name}", values[name]) for name, check in checks.items()}


def check_known(options: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a setting that a launcher does not have.

    Raises:
        SettingError: names it, and what is known.
    """
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise SettingError(f"hydra.launcher.{unknown[0]} is not known; known are {', '.join(sorted(known))}")


def check_settings(**options: Any) -> LauncherSettings:
    """Check the launcher's settings before any job starts; what is not given has its default.

    Raises:
        SettingError: names the key, the value, and what is allowed.
    """
    defaults = {each.name: each for each in dataclasses.fields(SlotLauncherConf) if each.name != "_target_"}
    check_known(options, defaults)
    values = {**dataclasses.asdict(SlotLauncherConf()), **options}
    settings = LauncherSettings(**{name: _CHECKS[name](f"hydra.launcher.{name}", values[name]) for name in defaults})
    _check_together(settings)
    return settings


Check = Callable[[str, Any], Any]


def one_of(allowed: Iterable[str]) -> Check:
    """Return a check for one of a few words."""
    words = tuple(allowed)

    def check(name: str, value: Any) -> Any:
        if value not in words:
            raise SettingError(f"{name}={value!r} is not known; allowed are {', '.join(words)}")
        return value

    return check


def number(least: float, *, whole: bool = False, optional: bool = False, above: bool = False) -> Check:
    """Return a check for a number from `least` on (`above` it), and null where `optional`."""
    kind = "a whole number" if whole else "a number"

    def check(name: str, value: Any) -> Any:
        if value is None and optional:
            return None
        fits = is_finite(value) and (isinstance(value, int) or not whole)
        if not fits or value < least or (above and value == least):
            bound = "above" if above else "at least"
            raise SettingError(
                f"{name} must be {kind}, {bound} {least:g}{' or null' if optional else ''}, but got {value!r}"
            )
        return value

    return check


def flag(name: str, value: Any) -> Any:
    """Check for true or false."""
    if not isinstance(value, bool):
        raise SettingError(f"{name} must be true or false but got {value!r}")
    return value


def check_resume(name: str, value: Any) -> Any:
    """Check for auto, true or false."""
    if value != "auto" and not isinstance(value, bool):
        raise SettingError(f"{name} must be auto, true or false but got {value!r}")
    return value


def _causes(name: str, value: Any) -> frozenset[str]:
    causes = [value] if isinstance(value, str) else value
    if not isinstance(causes, Iterable) or any(cause not in CAUSES for cause in causes):
        raise SettingError(f"{name}={value!r} has an entry that is not known; allowed are {', '.join(CAUSES)}")
    return frozenset(causes)


def _slots(name: str, slots: Any) -> str | int | list[str]:
    allowed = "allowed are auto, a count from 1, or a list of devices such as [0, 1, '2,3', cpu]"
    if slots == "auto":
        return "auto"
    if isinstance(slots, int) and not isinstance(slots, bool):
        if slots < 1:
            raise SettingError(f"{name}={slots} would run nothing; {allowed}")
        return slots
    if isinstance(slots, (str, bytes)) or not isinstance(slots, Iterable):
        raise SettingError(f"{name}={slots!r} is neither auto, a count nor a list; {allowed}")
    entries = list(slots)
    if not entries:
        raise SettingError(f"{name}=[] would run nothing; {allowed}")
    for entry in entries:
        if isinstance(entry, bool) or not isinstance(entry, (int, str)):
            raise SettingError(f"{name} has the entry {entry!r}; {allowed}")
    return [check_entry(str(entry)) for entry in entries]


def _percent(name: str, value: Any) -> Any:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 100):
        raise SettingError(f"{name} must be a percentage from 0 to 100, or null, but got {value!r}")
    return value


def _check_together(settings: LauncherSettings) -> None:
    for name, value in (("gpus_per_job", settings.gpus_per_job), ("jobs_per_gpu", settings.jobs_per_gpu)):
        if value is not None and settings.slots != "auto":
            raise SettingError(
                f"hydra.launcher.{name}={value} derives the slots from slots=auto, but hydra.launcher.slots="
                f"{settings.slots!r} gives them already; leave one of the two out"
            )


_CHECKS: dict[str, Check] = {
    "slots": _slots,
    "gpus_per_job": number(1, whole=True, optional=True),
    "jobs_per_gpu": number(1, whole=True, optional=True),
    "min_free_mib": number(1, whole=True, optional=True),
    "max_foreign_util": _percent,
    "stagger_s": number(0),
    "share": flag,
    "start": one_of(STARTS),
    "retries": number(0, whole=True),
    "retry_on": _causes,
    "timeout_min": number(0, above=True, optional=True),
    "grace_s": number(0),
    "stop_after_failures": number(1, whole=True, optional=True),
    "first": number(1, whole=True, optional=True),
    "rerun": one_of(RERUNS),
    "resume": check_resume,
    "detach": flag,
    "dry_run": flag,
    "progress": one_of(PROGRESS),
}
