"""The task of `trainctl run`: the config's commands, checked before the first job and run one after the other."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from trainctl.attempt import attempt as attempts
from trainctl.commands.progress import CommandRecord, chosen, digests, is_finished
from trainctl.commands.shell import keep_earlier, keep_terminal, run_line, say, signal_of
from trainctl.commands.template import COMMANDS, CommandLine, Place, Templates
from trainctl.compose.pairs import check_each_job
from trainctl.config.masking import Masking
from trainctl.config.overrides import task_overrides
from trainctl.config.settings import settings_of
from trainctl.config.settings_node import hydra_config
from trainctl.errors import CommandError, TrainctlError
from trainctl.rundir.logs import last_lines
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import original_cwd
from trainctl.rundir.status import read_status

UNRECORDED = "commands need a run to be recorded in; add `trainctl` to the defaults of the config"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_OWN_OVERRIDE = re.compile(r"\+{0,2}trainctl\.")
_ADDED = re.compile(r"\+{1,2}([\w-]+)[.=]")
_SOURCES = ("from", "from_unknown")
_TARGETS = ("trainctl.callback.", "hydra_plugins.hydra_trainctl.")


class Failed(CommandError, CompactHydraException):
    """The error that stopped a pipeline, which Hydra prints as one sentence without a traceback."""


def run_commands(config: DictConfig) -> None:
    """Run the commands that are not finished yet, in order; one that fails ends the run, and later ones wait.

    A command runs again if its text has changed, or when an earlier one has run since.

    Raises:
        CommandError: a command failed, or cannot be written out; nothing has run then.
    """
    try:
        _run(config)
    except CommandError as error:
        failed = Failed(str(error))
        failed.output, failed.signal = error.output, error.signal
        raise failed from None


def _run(config: DictConfig) -> None:
    attempt = attempts.current()
    if attempt is None:
        raise CommandError(UNRECORDED)
    settings, hydra = settings_of(config).run, hydra_config()
    templates = Templates(config, settings.flags)
    check_names(templates, None if hydra is None else str(hydra.job.name))
    names = chosen(templates, settings.only)
    wanted, force = digests(templates, names), settings.force or (hydra is not None and reruns_all(hydra))
    place = Place(str(attempt.run.path), attempt.run.name)
    lines = {name: templates.line(name, place) for name in names}  # all of them, before the first one runs
    ledger = CommandRecord(attempt, templates.texts)
    for name in names:
        if is_finished(ledger.records[name], wanted[name], force=force):
            say(f"{name}: finished before, not run again")
            continue
        log = attempt.run.path / f"{name}.log"
        say(f"{name}: {lines[name].shown}")
        ledger.start(name, lines[name].shown, wanted[name], log.name)
        try:
            keep_earlier(log)
            code = run_line(lines[name].text, log, original_cwd(), shown=settings.debug)
        except OSError as error:
            ledger.end(name, None)
            why = f"{error.strerror}{_size(error, lines[name])}"
            raise CommandError(f"command {name!r} could not be started: {why}") from error
        ledger.end(name, code, signal_of(code))
        if code != 0:
            raise _failed(name, code, log, templates.masking)


def _size(error: OSError, line: CommandLine) -> str:
    """Return the size of a command that is too long, for the end of a sentence; else nothing."""
    is_too_long = error.errno == errno.E2BIG
    return f" ({len(line.text.encode()):,} bytes); let it read values from a file" if is_too_long else ""


def _failed(name: str, code: int, log: Path, masking: Masking) -> CommandError:
    tail = masking.text(last_lines(log))
    if tail:
        say(tail)
    by = signal_of(code)
    how = f"was ended by {by}" if by else f"ended with exit code {code}"
    error = CommandError(f"command {name!r} {how}; its log is {log}")
    error.output, error.signal = tail, by
    return error


def reruns_all(hydra: DictConfig) -> bool:
    """Whether what is done is to run again: `hydra.launcher.rerun=all`."""
    return bool(OmegaConf.select(hydra, "launcher.rerun") == "all")


def check_names(templates: Templates, job_name: str | None) -> None:
    """Refuse names of commands that cannot name a log file, or whose log file would be the job's own.

    Raises:
        CommandError: says which, and why.
    """
    for name in templates.texts:
        if not _NAME.fullmatch(name):
            raise CommandError(f"{COMMANDS}.{name}: use letters, digits, - and _ only: its log file has this name")
        if name in ("job", job_name):
            raise CommandError(f"{COMMANDS}.{name}: the log of the job itself has that name; choose another")


class Hooks:
    """What the launcher asks about a task that runs commands; see `trainctl.compose.job`."""

    apart: Sequence[str] = (COMMANDS,)

    def file(self, config: DictConfig) -> str | None:
        """Return the config file with the commands."""
        for source in config.hydra.runtime.config_sources:
            if source.provider == "main":
                return os.path.join(source.path, f"{config.hydra.job.config_name}.yaml")
        return None

    def is_finished(self, config: DictConfig, run: RunDir) -> bool:
        """Whether a run that is done has nothing left to do: its commands may have changed since."""
        settings, status = settings_of(config).run, read_status(run)
        if status is None:
            return False
        templates = Templates(config, settings.flags)
        wanted = digests(templates, chosen(templates, settings.only))
        records = status.commands or {}
        return all(is_finished(records.get(name), wanted[name], force=settings.force) for name in wanted)

    def describe(self, config: DictConfig, run: RunDir) -> list[str]:
        """Return what a job would run, a line per command, secrets masked."""
        settings, status = settings_of(config).run, read_status(run)
        templates = Templates(config, settings.flags)
        wanted, place = digests(templates, chosen(templates, settings.only)), Place(str(run.path), run.name)
        records = {} if status is None else status.commands or {}
        force, lines, runs = settings.force or reruns_all(config.hydra), [], False
        for name in wanted:
            runs = runs or not is_finished(records.get(name), wanted[name], force=force)
            lines.append(f"{name}: {templates.line(name, place).shown}" if runs else f"{name}: finished")
        return lines


# in the dict of the function, which `functools.wraps` copies
vars(run_commands)["trainctl_hooks"] = Hooks()


class CommandCheck(Callback):
    """Refuses commands that cannot be run whatever their values are, and lists parameters that none of them uses.

    Attributes:
        may_run_ahead: it does nothing when a job starts.
    """

    may_run_ahead = True

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Look at the config of a single run, which Hydra's own `--run` asks for."""
        self.on_multirun_start(config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Look at the config of the whole sweep. In the process of the launcher."""
        try:
            if not is_recorded(config.hydra):
                raise CommandError(UNRECORDED)
            templates, settings = Templates(config), settings_of(config).run
            check_names(templates, str(config.hydra.job.name))
            templates.check(chosen(templates, settings.only))
            check_each_job(check_job)
            unused = templates.unused(added(config.hydra))
        except TrainctlError as error:
            sys.stderr.write(f"{error}\n")
            raise SystemExit(1) from None  # Hydra would only warn of a callback's exception
        if unused:
            sys.stderr.write(f"used by no command: {', '.join(unused)}\n")
        if settings.debug:
            keep_terminal()


def added(hydra: DictConfig) -> list[str]:
    """Return the top-level keys that the command line adds, to all jobs (`+x=1`) or by turns (`+x=1,2`); no groups."""
    found = (_ADDED.match(text) for text in task_overrides(hydra))
    folders = [Path(str(source.path)) for source in hydra.runtime.config_sources if source.schema == "file"]
    groups = {*_SOURCES, *map(str, hydra.runtime.choices)}
    keys = [match[1] for match in found if match is not None and match[1] not in groups]
    return [key for key in keys if not any((folder / key).is_dir() for folder in folders)]


def check_job(config: DictConfig) -> None:
    """Refuse commands of a job whose values are not there, or cannot be given to a command.

    Raises:
        CommandError: says which, and in which job.
    """
    templates = Templates(config)
    try:
        templates.check_values(chosen(templates, settings_of(config).run.only))
    except CommandError as error:
        given = [] if OmegaConf.select(config, "hydra") is None else task_overrides(config.hydra)
        job = templates.masking.text(" ".join(text for text in given if not _OWN_OVERRIDE.match(text)))
        raise CommandError(f"{job}: {error}" if job else str(error)) from None


def is_recorded(hydra: DictConfig) -> bool:
    """Whether jobs have a run dir of trainctl, by its launcher or by its callback."""
    targets = [OmegaConf.select(hydra, f"callbacks.{name}._target_") for name in hydra.callbacks]
    targets.append(OmegaConf.select(hydra, "launcher._target_"))
    return any(str(target).startswith(_TARGETS) for target in targets)
