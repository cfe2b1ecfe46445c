"""The state of each command of a run: `commands:` in its `status.yaml`."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainctl.attempt.attempt import Attempt
from trainctl.commands.template import Place, Templates
from trainctl.errors import CommandError
from trainctl.rundir.status import format_time, write_status

LAUNCH = "TRAINCTL_LAUNCH"  # in the environment: which launch of `trainctl run` this is

Records = dict[str, dict[str, Any]]


def digest(line: str) -> str:
    """Return what tells whether the text of a command has changed."""
    return hashlib.sha256(line.encode(errors="surrogatepass")).hexdigest()[:16]


def digests(templates: Templates, names: Sequence[str]) -> dict[str, str]:
    """Return the digest of each of these commands, values filled in, but neither the run dir nor the time of day.

    Other commands may lack values: only these are evaluated.
    """
    return {name: digest(templates.line(name, Place()).text) for name in names}


def chosen(templates: Templates, only: Sequence[str] | None) -> list[str]:
    """Return the names of the commands to run, in the order of the config.

    Raises:
        CommandError: one is not there, or none is named.
    """
    if only is None:
        return list(templates.texts)
    known = ", ".join(templates.texts)
    if not only:
        raise CommandError(f"trainctl.run.only=[] names no command; the config has {known}")
    for name in only:
        if name not in templates.texts:
            raise CommandError(f"trainctl.run.only: there is no command {name!r}; the config has {known}")
    return [name for name in templates.texts if name in only]


def is_finished(record: Mapping[str, Any] | None, wanted: str, *, force: bool = False) -> bool:
    """Whether a command finished successfully with its current text; with `force`, whether it did so in this launch.

    Args:
        record: its entry in the run's status.
        wanted: the digest of its current text.
        force: results from before this launch do not count; a retry within the launch continues anyway.
    """
    if record is None or record.get("state") != "done" or record.get("digest") != wanted:
        return False
    this = os.environ.get(LAUNCH)
    return not force or (this is not None and record.get("launch") == this)


def merged(now: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return the config's commands in their order, and each that only the record knows after the one it came after.

    >>> merged(["clean", "train", "test"], ["train", "average", "test"])
    ['clean', 'train', 'average', 'test']
    """
    names, place = list(now), 0
    for name in known:
        if name not in names:
            names.insert(place, name)
        place = names.index(name) + 1
    return names


class CommandRecord:
    """Writes down what a run's commands do. A command that starts makes all later ones outdated, at once.

    Commands that were removed from the config are kept, so one that is taken out for a while does not lose its record.
    """

    def __init__(self, attempt: Attempt, names: Iterable[str]) -> None:
        self._attempt = attempt
        known = attempt.status.commands or {}
        self.records: Records = {name: dict(known.get(name, {"state": "queued"})) for name in merged(names, known)}
        for record in self.records.values():
            if record.get("state") == "running":  # of an attempt that was killed
                record["state"] = "interrupted"

    def start(self, name: str, shown: str, digest: str, log: str) -> None:
        """Record that a command is running.

        Args:
            name: of the command.
            shown: its text as people may see it.
            digest: of the text as the shell gets it.
            log: the name of its log.
        """
        names = list(self.records)
        for later in names[names.index(name) + 1 :]:
            if self.records[later].get("state") == "done":
                self.records[later]["state"] = "outdated"
        self.records[name] = {
            "state": "running",
            "attempt": self._attempt.number,
            "started": format_time(time.time()),
            "log": log,
            "command": shown,
            "digest": digest,
            **({"launch": os.environ[LAUNCH]} if LAUNCH in os.environ else {}),
        }
        self._write()

    def end(self, name: str, exit_code: int | None, signal: str | None = None) -> None:
        """Record how a command ended; without an exit code, it could not be started."""
        record = self.records[name]
        record["state"] = "done" if exit_code == 0 else "failed"
        record["ended"] = format_time(time.time())
        known = {"exit_code": exit_code, "signal": signal}
        record |= {key: value for key, value in known.items() if value is not None}
        self._write()

    def _write(self) -> None:
        commands = {name: dict(record) for name, record in self.records.items()}
        self._attempt.status = dataclasses.replace(self._attempt.status, commands=commands)
        try:
            write_status(self._attempt.run, self._attempt.status)
        except OSError as error:
            path = self._attempt.run.status
            raise CommandError(f"what the commands do cannot be written to {path}: {error.strerror}") from error
