"""What became of each command of a run: the `commands:` of its `status.yaml`."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from trainctl.commands.template import Place, Templates
from trainctl.errors import CommandError
from trainctl.run.attempt import Attempt
from trainctl.run.status import format_time, write_status

Records = dict[str, dict[str, Any]]


def digest(line: str) -> str:
    """Return what tells whether the text of a command has changed."""
    return hashlib.sha256(line.encode(errors="surrogatepass")).hexdigest()[:16]


def digests(templates: Templates) -> dict[str, str]:
    """Return the digest of each command, values filled in, but neither the run dir nor the time of day."""
    return {name: digest(templates.line(name, Place())) for name in templates.texts}


def chosen(templates: Templates, only: Sequence[str] | None) -> list[str]:
    """Return the names of the commands to run, in the order of the config.

    Raises:
        CommandError: one is not there.
    """
    if only is None:
        return list(templates.texts)
    for name in only:
        if name not in templates.texts:
            known = ", ".join(templates.texts)
            raise CommandError(f"trainctl.run.only: there is no command {name!r}; the config has {known}")
    return [name for name in templates.texts if name in only]


def is_finished(records: Mapping[str, Mapping[str, Any]], name: str, wanted: Mapping[str, str]) -> bool:
    """Say whether a command has ended well, with the very text that it has now."""
    record = records.get(name, {})
    return record.get("state") == "done" and record.get("digest") == wanted[name]


class Ledger:
    """Writes down what a run's commands do. A command that starts makes all later ones outdated, at once."""

    def __init__(self, attempt: Attempt, wanted: Mapping[str, str]) -> None:
        self._attempt = attempt
        self._wanted = wanted
        known = attempt.status.commands or {}
        self.records: Records = {name: dict(known.get(name, {"state": "queued"})) for name in wanted}
        for record in self.records.values():
            if record.get("state") == "running":  # of an attempt that was killed
                record["state"] = "interrupted"

    def start(self, name: str, line: str, log: str) -> None:
        names = list(self._wanted)
        for later in names[names.index(name) + 1 :]:
            if self.records[later].get("state") == "done":
                self.records[later]["state"] = "outdated"
        self.records[name] = {
            "state": "running",
            "attempt": self._attempt.number,
            "started": format_time(time.time()),
            "log": log,
            "command": line,
            "digest": self._wanted[name],
        }
        self._write()

    def end(self, name: str, exit_code: int, signal: str | None) -> None:
        record = self.records[name]
        record["state"] = "done" if exit_code == 0 else "failed"
        record["ended"] = format_time(time.time())
        record["exit_code"] = exit_code
        if signal is not None:
            record["signal"] = signal
        self._write()

    def _write(self) -> None:
        commands = {name: dict(record) for name, record in self.records.items()}
        self._attempt.status = dataclasses.replace(self._attempt.status, commands=commands)
        write_status(self._attempt.run, self._attempt.status)
