"""The changelog of the run that is being executed, and its file. The file is written first, always."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from trainctl.config.changelog import Changelog, Edit, base_section, merge, section
from trainctl.rundir import files


class ChangelogFile:
    """Writes one edit by appending its part to the file, so that it costs the same however many there are.

    The file is written anew, atomically, where appending would not do: the first time in an attempt, for a second edit
    of one step (it is merged with the first), for a step before the last one, when the file is not as we left it, and
    for an edit without a comment, by which a reader knows that an end mark must follow.
    """

    def __init__(self, path: Path, changelog: Changelog) -> None:
        self.has_rest = changelog.cut_off is not None
        self._path = path
        self._base = changelog.base
        self._edits = {edit.step: edit for edit in merge(changelog.edits)}
        self._head = base_section(changelog.base)
        self._sections = {step: section(edit, self._base) for step, edit in self._edits.items()}
        self._last = changelog.last_step
        self._size: int | None = None  # of the file; None while it is not known to be as we have it here

    @property
    def changelog(self) -> Changelog:
        return Changelog(self._base, list(self._edits.values()))

    def write(self) -> None:
        """Write the file as it is known here.

        Raises:
            OSError: it cannot be written; what was there stays.
        """
        self._rewrite(self._sections)

    def add(self, edit: Edit) -> None:
        """Record one edit; when this returns it is on disk.

        Raises:
            OSError: it cannot be written; neither file nor memory has changed.
        """
        before = self._edits.get(edit.step)
        merged = edit if before is None else merge([before, edit])[0]
        text = section(merged, self._base)
        if edit.step > self._last and edit.comment and self._append(text):
            self._edits[edit.step], self._sections[edit.step] = edit, text
        else:
            sections = dict(sorted({**self._sections, edit.step: text}.items()))
            self._rewrite(sections)
            self._edits, self._sections = dict(sorted({**self._edits, edit.step: merged}.items())), sections
        self._last = max(self._last, edit.step)

    def _append(self, text: str) -> bool:
        """Add a part to the end of the file, durably; say False where the file must be written anew instead."""
        if self._size is None:
            return False
        data = text.encode()
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
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
        """Cut off a part that is not wholly written (a full disk); what stays has no end mark and does not count."""
        self._size = None
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)

    def _rewrite(self, sections: dict[int, str]) -> None:
        text = self._head + "".join(sections.values())
        files.write_atomic(self._path, text)
        self._size = len(text.encode())
