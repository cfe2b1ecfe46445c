"""The task of `trainctl run`: the config's commands, one after the other, each until it is done."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from trainctl.commands.progress import Ledger, chosen, digests, is_finished
from trainctl.commands.shell import keep_earlier, last_lines, run_line, say, signal_of
from trainctl.commands.template import COMMANDS, Place, Templates
from trainctl.config.settings import settings_of
from trainctl.errors import CommandError
from trainctl.run import attempt as attempts
from trainctl.run.provenance import hydra_config, original_cwd
from trainctl.run.rundir import RunDir
from trainctl.run.status import read_status

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def run_commands(config: DictConfig) -> None:
    """Run the commands that are not finished yet, in order; one that fails ends the run, and later ones wait.

    A command runs again if its text has changed, or when an earlier one has run since.

    Raises:
        CommandError: a command failed, or cannot be written out; nothing has run then.
    """
    attempt = attempts.current()
    if attempt is None:
        raise CommandError("commands need a run to be recorded in; add `trainctl` to the defaults of the config")
    settings = settings_of(config).run
    templates = Templates(config, settings.flags)
    check_names(templates, None if hydra_config() is None else str(hydra_config().job.name))
    wanted, names = digests(templates), chosen(templates, settings.only)
    place = Place(str(attempt.run.path), attempt.run.name)
    lines = {name: templates.line(name, place) for name in names}  # all of them, before the first one runs
    ledger = Ledger(attempt, wanted)
    for name in names:
        if is_finished(ledger.records, name, wanted) and not settings.force:
            say(f"{name}: finished before, not run again")
            continue
        log = attempt.run.path / f"{name}.log"
        keep_earlier(log)
        say(f"{name}: {lines[name]}")
        ledger.start(name, lines[name], log.name)
        code = run_line(lines[name], log, original_cwd(), shown=settings.debug)
        ledger.end(name, code, signal_of(code))
        if code != 0:
            raise _failed(name, code, log)


def _failed(name: str, code: int, log: Path) -> CommandError:
    tail = last_lines(log)
    if tail:
        say(tail)
    how = f"was ended by {signal_of(code)}" if signal_of(code) else f"ended with exit code {code}"
    return CommandError(f"command {name!r} {how}; its log is {log}")


def check_names(templates: Templates, job_name: str | None) -> None:
    """Refuse names of commands that are no names of files, or whose log would be another one.

    Raises:
        CommandError: says which, and why.
    """
    for name in templates.texts:
        if not _NAME.fullmatch(name):
            raise CommandError(
                f"{COMMANDS}.{name}: the name must be letters, digits, - and _, since its log is called so"
            )
        if name in ("job", job_name):
            raise CommandError(f"{COMMANDS}.{name}: the log of the job itself has that name; choose another")


class Hooks:
    """What the launcher asks about a task of ours; see `trainctl.launch.taskhooks`."""

    apart: Sequence[str] = (COMMANDS,)

    def is_finished(self, config: DictConfig, run: RunDir) -> bool:
        """Say whether a run that is done has nothing left to do: its commands may have changed since."""
        settings, status = settings_of(config).run, read_status(run)
        if settings.force or status is None:
            return False
        templates = Templates(config, settings.flags)
        wanted = digests(templates)
        return all(is_finished(status.commands or {}, name, wanted) for name in chosen(templates, settings.only))

    def describe(self, config: DictConfig, run: RunDir) -> list[str]:
        """Return what a job would run, a line per command."""
        settings, status = settings_of(config).run, read_status(run)
        templates = Templates(config, settings.flags)
        wanted, place = digests(templates), Place(str(run.path), run.name)
        records = {} if status is None or settings.force else status.commands or {}
        lines, runs = [], False
        for name in chosen(templates, settings.only):
            runs = runs or not is_finished(records, name, wanted)
            lines.append(f"{name}: {templates.line(name, place)}" if runs else f"{name}: finished")
        return lines


# in the function's own dict, which whoever wraps it takes over
vars(run_commands)["trainctl_hooks"] = Hooks()


def sentence_about_unused(templates: Templates) -> str | None:
    """Return which parameters no command uses; None if all are used."""
    unused = templates.unused()
    return f"used by no command: {', '.join(unused)}" if unused else None
