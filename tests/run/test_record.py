from __future__ import annotations

from pathlib import Path

import pytest

from trainctl.config.changelog import Changelog, Edit, dumps, loads
from trainctl.run import files
from trainctl.run.record import Record


def test_record_on_disk_is_the_changelog_after_every_edit(tmp_path: Path) -> None:
    path = tmp_path / "changelog.yaml"
    record = Record(path, loads("0: {a: 1, b: {c: [1]}}\n9: # 21:03:18 cli: kept\n  a: 2\n"))
    record.write()
    for edit in (Edit(3, {"b.c": [2]}), Edit(3, {"a": 5}, via="cli"), Edit(1, {"a": 4}), Edit(9, {"b.c": []})):
        record.add(edit)
        assert path.read_text() == dumps(record.changelog)
        assert loads(path.read_text()) == record.changelog
    assert [edit.step for edit in record.changelog.edits] == [1, 3, 9]
    assert record.changelog.edits[2].values == {"a": 2, "b.c": []}
    assert "# 21:03:18 cli: kept" in path.read_text()


def test_edit_that_cannot_be_written_is_not_in_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "changelog.yaml"
    record = Record(path, Changelog({"a": 1}))
    record.write()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_all", full)
        with pytest.raises(OSError, match="No space left"):
            record.add(Edit(1, {"a": 2}))
    assert record.changelog == Changelog({"a": 1}) == loads(path.read_text())
    assert [entry.name for entry in tmp_path.iterdir()] == ["changelog.yaml"]
    record.add(Edit(2, {"a": 3}))
    assert loads(path.read_text()).edits == [Edit(2, {"a": 3})]
