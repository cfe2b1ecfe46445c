"""The changelog of the run that is being executed, and its file. The file is written first, always."""

from __future__ import annotations

from pathlib import Path

from trainctl.config.changelog import Changelog, Edit, base_section, merge, section
from trainctl.run import files


class Record:
    """Keeps the text of each step, so that an edit costs one dump of itself however many there are."""

    def __init__(self, path: Path, changelog: Changelog) -> None:
        self._path = path
        self._base = changelog.base
        self._edits = {edit.step: edit for edit in merge(changelog.edits)}
        self._head = base_section(changelog.base)
        self._sections = {step: section(edit, self._base) for step, edit in self._edits.items()}

    @property
    def changelog(self) -> Changelog:
        return Changelog(self._base, list(self._edits.values()))

    def write(self) -> None:
        """Write the file as it is known here.

        Raises:
            OSError: it cannot be written; what was there stays.
        """
        files.write_atomic(self._path, self._head + "".join(self._sections.values()))

    def add(self, edit: Edit) -> None:
        """Record one edit; when this returns it is on disk.

        Raises:
            OSError: it cannot be written; neither file nor memory has changed.
        """
        before = self._edits.get(edit.step)
        merged = merge([before, edit])[0] if before is not None else edit
        sections = dict(sorted({**self._sections, edit.step: section(merged, self._base)}.items()))
        files.write_atomic(self._path, self._head + "".join(sections.values()))
        self._sections = sections
        self._edits = dict(sorted({**self._edits, edit.step: merged}.items()))
