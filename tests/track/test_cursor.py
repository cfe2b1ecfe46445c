"""What trackers have noted in a run dir, and the page's address: files of a run are outside input."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from trainctl.config.changelog import Changelog, dumps
from trainctl.errors import UnreadableError
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir, own_dir
from trainctl.track.cursor import Cursor, place_of, read_after
from trainctl.track.facts import page_url
from trainctl.track.sync import sync


def test_cursor_is_read_as_it_was_written(tmp_path: Path) -> None:
    cursor = Cursor("k", {"run_id": "r", "open": False}, 5, 10, 3, 2.5, ["3 lr=0.1"], "digest", "1 done")
    cursor.write(tmp_path / "c.json")
    assert Cursor.read(tmp_path / "c.json") == cursor


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "null", "{", '"x"', "[" * 5000, '{"kept": ' + '{"a": ' * 5000 + "1" + "}" * 5001,
        '{"key": 5, "kept": [], "inode": "x", "offset": -4, "step": true, "t": "now", "changes": {}, "ended": null}',
        '{"offset": 1e400, "step": 99999999999999999999999, "changes": [1, null, "no step", "' + "9" * 5000 + ' x"]}',
    ],
)  # fmt: skip
def test_what_is_no_cursor_is_a_new_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    found, new = Cursor.read(path), Cursor()
    assert len(found.key) == 16
    found.key = new.key
    assert found == new


def test_cursor_that_is_no_file_or_too_long_is_said_and_not_waited_for(run: RunDir) -> None:
    pytest.importorskip("tensorboard")
    run.create()
    run.changelog.write_text(dumps(Changelog({"lr": 0.1})))
    path = place_of(run, "tensorboard")
    os.mkfifo(path)
    with pytest.raises(UnreadableError, match="regular"):
        Cursor.read(path)
    (done,) = sync(run, ["tensorboard"])
    assert "regular" in str(done.problem)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(files.MOST_CHANGELOG + 1)
    with pytest.raises(UnreadableError, match="MiB"):
        Cursor.read(path)


def test_directory_of_the_cursors_is_no_link(run: RunDir, tmp_path: Path) -> None:
    run.create()
    (tmp_path / "elsewhere").mkdir()
    (run.path / ".track").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnreadableError, match="it is a link, which is not followed"):
        place_of(run, "mlflow")


def test_metrics_are_read_from_a_file_only_and_a_line_has_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    os.mkfifo(path)
    with pytest.raises(UnreadableError):
        read_after(path, Cursor(), 10)
    path.unlink()
    path.write_text('{"step": 1, "t": 1.0, "loss": "nan"}\n')
    ((record,), *_) = read_after(path, Cursor(), 10)
    assert math.isnan(record["loss"])
    with path.open("ab") as file:
        file.truncate(files.MOST_LINE + 100)
    with pytest.raises(UnreadableError, match="a line is longer than"):
        read_after(path, Cursor(), 10)


@pytest.mark.parametrize(
    "record", [{}, [], {"url": 5}, {"url": "javascript:alert(1)"}, {"url": "file:///etc/passwd"}, {"url": None}]
)
def test_address_of_the_page_is_one_of_a_server(run: RunDir, record: Any) -> None:
    place = own_dir(run.path.parent)
    place.mkdir(parents=True)
    (place / "panel.json").write_text(json.dumps(record))
    assert page_url(run) is None


def test_address_of_the_page_is_read_from_a_small_file_only(run: RunDir) -> None:
    place = own_dir(run.path.parent)
    place.mkdir(parents=True)
    os.mkfifo(place / "panel.json")
    assert page_url(run) is None
    (place / "panel.json").unlink()
    (place / "panel.json").write_text('{"url": "http://h/"' + " " * files.MOST_SMALL + "}")
    assert page_url(run) is None
    (place / "panel.json").write_text('{"url": "http://h/?token=t"}')
    assert page_url(run) == f"http://h/run/{run.name}"
