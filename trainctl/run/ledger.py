"""The edits of a running run, one by one, kept up as they are made: what an undo looks at."""

from __future__ import annotations

from typing import Any

from trainctl.config.changelog import Edit
from trainctl.config.keys import leaves
from trainctl.run import events
from trainctl.run.applied import Applied, applied_edits
from trainctl.run.record import Record
from trainctl.run.rundir import RunDir


class Ledger:
    """Reads the files of the run when it is first asked; from then on it is told of each edit."""

    def __init__(self, run: RunDir, record: Record) -> None:
        self._run = run
        self._record = record
        self._edits: list[Applied] | None = None
        self._values: dict[str, Any] = {}

    def edits(self) -> list[Applied]:
        """Return all edits in order of their steps, also those that are still to come again in this attempt.

        Raises:
            OSError: the events cannot be read.
        """
        if self._edits is None:
            changelog = self._record.changelog
            self._edits = applied_edits(changelog, events.read_events(self._run))
            self._values = leaves(changelog.base)
            for one in self._edits:
                self._values.update(one.values)
        return self._edits

    def add(self, edit: Edit, undo: int | None) -> None:
        """Take down an edit that has just been recorded."""
        if self._edits is None:
            return
        if self._edits and edit.step < self._edits[-1].step:
            self._edits = None  # one that comes before others: read anew when it is asked for
            return
        before = {key: self._values[key] for key in edit.values if key in self._values}
        source = (edit.who, edit.via, edit.note, edit.at)
        self._edits.append(Applied(len(self._edits) + 1, edit.step, edit.values, before, *source, undo))
        self._values.update(edit.values)
