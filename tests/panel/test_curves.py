"""Curves: read from where the last look ended, thinned when long, and read again when the file is another one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trainctl.panel.data.curves import MAX_POINTS, UNSEEN, Curve, Curves
from trainctl.panel.server.limits import Bucket
from trainctl.panel.widgets.ansi import last_written, to_html
from trainctl.rundir.paths import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir.at(tmp_path / "run")
    run.create()
    return run


def line(step: int, **values: object) -> str:
    return json.dumps({"step": step, **values, "t": 1.0}) + "\n"


def test_only_what_is_new_is_given(run: RunDir) -> None:
    run.metrics.write_text(line(1, loss=3.0) + line(2, loss=2.0, note="text") + '{"step": 3, "lo')
    curves = Curves(run)
    curves.look()
    assert curves.names == ["loss"]
    mark, is_whole, steps, values = curves.after("loss", UNSEEN)
    assert (is_whole, steps, values) == (True, [1, 2], [3.0, 2.0])
    with run.metrics.open("a") as file:
        file.write('ss": 1.0}\n')
    curves.look()
    assert curves.after("loss", mark)[1:] == (False, [3], [1.0])


def test_another_file_begins_anew(run: RunDir) -> None:
    run.metrics.write_text(line(1, loss=3.0) + line(2, loss=2.0))
    curves = Curves(run)
    curves.look()
    mark = curves.after("loss", UNSEEN)[0]
    other = run.metrics.with_suffix(".new")
    other.write_text(line(1, loss=9.0))
    os.replace(other, run.metrics)
    curves.look()
    assert curves.after("loss", mark)[1:] == (True, [1], [9.0])
    run.metrics.unlink()
    curves.look()  # gone for a moment: what is known stays
    assert curves.after("loss", UNSEEN)[2] == [1]


def test_long_curve_is_thinned_evenly() -> None:
    curve = Curve()
    for step in range(50 * MAX_POINTS):
        curve.add(step, float(step))
    assert MAX_POINTS <= len(curve.steps) <= 2 * MAX_POINTS
    gaps = {after - before for before, after in zip(curve.steps, curve.steps[1:], strict=False)}
    assert len(gaps) == 1
    assert list(curve.steps) == [int(value) for value in curve.values]


def test_terminal_codes_become_colours_and_nothing_else() -> None:
    assert to_html("\x1b[1;31mred\x1b[0m <b>\x1b]0;title\x07\x1b[2K") == '<span class="bold r">red</span> &lt;b&gt;'
    assert to_html("\x1b[38;5;196mx\x1b[m") == "x"
    assert last_written("10%\r100%") == "100%"


def test_turns_run_out() -> None:
    bucket = Bucket(3, 0.0)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
