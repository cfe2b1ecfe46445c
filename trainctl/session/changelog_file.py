"""The changelog of the current run, and its file. The file is always written before memory changes."""

from __future__ import annotations

import bisect
import contextlib
import copy
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainctl.config.changelog import Changelog, Edit, base_section, before_of, merge, put, section
from trainctl.config.keys import is_within, leaves
from trainctl.errors import EditError
from trainctl.rundir import files
from trainctl.rundir.edits import Applied, applied_edits, with_replaced


class ChangelogFile:
    """Records an edit by appending one part to the file, so the cost does not grow with the number of edits.

    The file is rewritten atomically where appending is not enough: the first time in an attempt, for a second edit
    of one step (it is merged with the first), for a step before the last one, when another process changed it, and for
    an edit without a comment, by which a reader knows that an end mark must follow.

    Args:
        path: the file.
        changelog: its content.
        applied: its edits one by one, where more is known of them than it says.

    Attributes:
        applied: the edits one by one, in order of their steps, also those that come again in this attempt.
    """

    def __init__(self, path: Path, changelog: Changelog, applied: Sequence[Applied] | None = None) -> None:
        self.has_rest = changelog.cut_off is not None
        self.path = path
        self._base, self._first = changelog.base, leaves(changelog.base)
        self._edits = {edit.step: edit for edit in merge(changelog.edits)}
        self._head = base_section(changelog.base)
        self._sections = {step: section(edit, self._base) for step, edit in self._edits.items()}
        self._last = changelog.last_step
        self._size: int | None = None  # of the file; None while it may differ from `_sections`
        self.applied = list(applied_edits(changelog, ()) if applied is None else applied)
        self._values = self._last_values()
        self._next_number = max((one.number for one in self.applied), default=0) + 1

    @property
    def changelog(self) -> Changelog:
        return Changelog(self._base, list(self._edits.values()))

    def write(self) -> None:
        """Rewrite the whole file.

        Raises:
            OSError: it cannot be written; what was there stays.
        """
        self._rewrite(self._sections)

    def add(self, edit: Edit) -> None:
        """Record one edit under the next number; when this returns, the edit is on disk.

        Raises:
            EditError: the record of the step cannot say it. OSError: it cannot be written.
                Neither file nor memory has changed then.
        """
        edit = dataclasses.replace(edit, number=self._next_number)
        before = self._edits.get(edit.step)
        nulls = [] if before is None else [key for key, value in before.values.items() if value is None]
        for key in edit.values:
            if key not in nulls and is_within(key, nulls):
                raise EditError(f"{key}: its section became null at this step; ask again, nothing was changed")
        merged = edit if before is None else merge([before, edit])[0]
        text = section(merged, self._base)
        if edit.step > self._last and edit.comment and self._append(text):
            self._edits[edit.step], self._sections[edit.step] = edit, text
        else:
            sections = dict(sorted({**self._sections, edit.step: text}.items()))
            self._rewrite(sections)
            self._edits, self._sections = dict(sorted({**self._edits, edit.step: merged}.items())), sections
        self._last = max(self._last, edit.step)
        self._next_number += 1
        self._add_applied(edit)

    def _add_applied(self, edit: Edit) -> None:
        source = (edit.who, edit.via, edit.note, edit.at, edit.undo, edit.id)
        one = Applied(self._next_number - 1, edit.step, edit.values, before_of(self._values, edit.values), *source)
        if self.applied and edit.step < self.applied[-1].step:  # what later ones replaced changes too
            bisect.insort_right(self.applied, one, key=lambda other: other.step)
            self.applied = with_replaced(self._base, self.applied)
            self._values = self._last_values()
        else:
            self.applied.append(one)
            for key, value in edit.values.items():
                put(self._values, key, copy.deepcopy(value), self._first)

    def _last_values(self) -> dict[Any, Any]:
        """Return the config after all edits."""
        values = copy.deepcopy(self._base)
        for one in self.applied:
            for key, value in one.values.items():
                put(values, key, copy.deepcopy(value), self._first)
        return values

    def _append(self, text: str) -> bool:
        """Append a part to the file and sync it; return False if the file must be rewritten instead."""
        if self._size is None:
            return False
        data = text.encode()
        try:
            descriptor = files.open_to_write(self.path, os.O_WRONLY | os.O_APPEND)
        except FileNotFoundError:
            return False
        try:
            if os.fstat(descriptor).st_size != self._size:
                return False
            try:
                files.write_all(descriptor, data)
                os.fsync(descriptor)
            except OSError:
                self._take_back(descriptor, self._size)
                raise
        finally:
            os.close(descriptor)
        self._size += len(data)
        return True

    def _take_back(self, descriptor: int, size: int) -> None:
        """Cut off a partly written part (disk full); without an end mark it would not count anyway."""
        self._size = None
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)

    def _rewrite(self, sections: dict[int, str]) -> None:
        text = self._head + "".join(sections.values())
        files.write_atomic(self.path, text)
        self._size = len(text.encode())
