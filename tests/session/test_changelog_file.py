from __future__ import annotations

import threading
from pathlib import Path

import pytest
from disks import PAGE, fill

from trainctl.config.changelog import Changelog, Edit, dumps, loads
from trainctl.rundir import files
from trainctl.session.changelog_file import ChangelogFile


def test_record_on_disk_is_the_changelog_after_every_edit(tmp_path: Path) -> None:
    path = tmp_path / "changelog.yaml"
    record = ChangelogFile(path, loads("0: {a: 1, b: {c: [1]}}\n9: # 21:03:18 cli: kept\n  a: 2\n"))
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
    record = ChangelogFile(path, Changelog({"a": 1}))
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


def edit(step: int, **values: object) -> Edit:
    return Edit(step, dict(values), via="cli", who="ada", at=1.0)


def test_later_edit_is_appended_and_the_rest_of_the_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "changelog.yaml"
    record = ChangelogFile(path, Changelog({"a": 1}))
    record.add(edit(1, a=2))
    before, file = path.read_bytes(), path.stat().st_ino
    record.add(edit(2, a=3))
    record.add(edit(30, a=[4, {"b": "x\n y"}]))
    after = path.read_bytes()
    assert path.stat().st_ino == file
    assert after.startswith(before)
    assert after.decode() == dumps(record.changelog)
    assert (
        loads(after) == record.changelog == Changelog({"a": 1}, [edit(1, a=2), edit(2, a=3), record.changelog.edits[2]])
    )
    record.add(edit(30, a=5))  # a second one of that step
    assert path.stat().st_ino != file
    record.add(Edit(40, {"a": 6}))  # without a comment nothing would tell its beginning from what a person wrote
    assert path.read_text() == dumps(record.changelog)


def test_part_that_was_cut_off_anywhere_does_not_count_and_all_others_do(tmp_path: Path) -> None:
    path = tmp_path / "changelog.yaml"
    record = ChangelogFile(path, Changelog({"a": 1, "b": {"c": "x", "d": []}}))
    whole = [edit(1, a=2), edit(20, **{"b.c": "y"})]
    for one in whole:
        record.add(one)
    start = path.stat().st_size
    record.add(edit(300, a=3, **{"b.c": "zwölf\n\n300: 7\n#.\n", "b.d": [{"e": 1}, {"f": [1, 2]}]}))
    data = path.read_bytes()
    assert loads(data).edits == record.changelog.edits
    for size in range(start, len(data)):
        for tail in (b"", b"\0" * (len(data) - size), b"\0\n"):
            read = loads(data[:size] + tail)
            assert read.edits == whole, data[start:size]
            assert (read.cut_off is not None) == (size > start)


def test_record_goes_on_behind_a_part_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "changelog.yaml"
    ChangelogFile(path, Changelog({"a": 1})).add(edit(5, a=2))
    with path.open("ab") as file:
        file.write("7:".ljust(38).encode() + b"# 21:03:18 cli ada\n  a: 2")
    again = ChangelogFile(path, loads(path.read_bytes()))
    again.add(edit(7, a=9))
    again.add(edit(8, a=10))
    assert loads(path.read_bytes()).edits == [edit(5, a=2), edit(7, a=9), edit(8, a=10)]
    assert loads(path.read_bytes()).cut_off is None


def test_edit_on_a_full_disk_is_taken_back_out_of_the_file(small_disk: Path) -> None:
    path = small_disk / "changelog.yaml"
    record = ChangelogFile(path, Changelog({"a": ""}))
    record.add(edit(1, a="x"))
    before = path.read_bytes()
    fill(small_disk / "filler")
    with pytest.raises(OSError, match="No space left"):
        record.add(edit(2, a="y" * 3 * PAGE))
    assert path.read_bytes() == before
    (small_disk / "filler").unlink()
    record.add(edit(3, a="z"))
    assert loads(path.read_bytes()) == Changelog({"a": ""}, [edit(1, a="x"), edit(3, a="z")]) == record.changelog


@pytest.mark.parametrize("hand", ["delete", "append", "replace"])
def test_file_that_somebody_touched_is_written_as_it_was_in_effect(tmp_path: Path, hand: str) -> None:
    path = tmp_path / "changelog.yaml"
    record = ChangelogFile(path, Changelog({"a": 1}))
    record.add(edit(1, a=2))
    if hand == "delete":
        path.unlink()
    else:
        path.write_text(path.read_text() + "2: {a: 7}\n" if hand == "append" else "0: {}\n")
    record.add(edit(3, a=4))
    assert loads(path.read_bytes()).edits == [edit(1, a=2), edit(3, a=4)]


def test_reader_never_sees_a_part_of_an_edit(tmp_path: Path) -> None:
    path = tmp_path / "changelog.yaml"
    record = ChangelogFile(path, Changelog({"n": 0, "a": 0, "b": ["x" * 5000]}))
    record.write()
    seen: list[Edit] = []
    end = threading.Event()

    def read() -> None:
        while not end.is_set():
            seen.extend(loads(path.read_bytes()).edits[-1:])

    reader = threading.Thread(target=read)
    reader.start()
    for step in range(1, 200):  # every third edit comes at the step of the one before
        record.add(edit(step - (step % 3 == 0), n=step, a=step, b=["x" * 5000, step]))
    end.set()
    reader.join(60)
    assert seen
    assert all(one.values["n"] == one.values["a"] == one.values["b"][1] for one in seen)
