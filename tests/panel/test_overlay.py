"""The lines and marks of the runs that are chosen, as the browser gets them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from made_sweep import make_run

pytest.importorskip("panel")


def test_lines_grow_and_go_with_the_choice(tmp_path: Path) -> None:
    from trainctl.panel.data.watcher import Watcher
    from trainctl.panel.widgets.overlay import MAX_RUNS, Overlay

    runs = [make_run(tmp_path, name, []) for name in ("a", "b")]
    watcher = Watcher(tmp_path)
    names = list(watcher.rows())
    with ExitStack() as stack:
        overlay = Overlay(watcher, stack)

        def lines() -> list[int]:
            for name in names:
                curves = watcher.curves(name)
                assert curves is not None
                curves.look()
            overlay.look()
            data = overlay._lines.data
            assert {len(column) for column in data.values()} == {MAX_RUNS}
            assert [len(line) for line in data["step"]] == [len(line) for line in data["value"]]
            return [len(line) for line in data["step"][:3]]

        overlay.choose(names)
        assert lines() == [100, 100, 0]
        assert list(overlay._marks.data["step"]) == [50, 50]
        with runs[0].metrics.open("a") as file:
            file.write('{"step": 101, "loss": 0.5}\n')
        assert lines() == [101, 100, 0]
        assert overlay._lines.data["value"][0][-1] == 0.5
        overlay.choose(names[1:])
        assert lines() == [100, 0, 0]
        assert list(overlay._lines.data["text"][:2]) == ["b", ""]
        assert list(overlay._marks.data["step"]) == [50]


def test_long_line_is_thinned_to_what_a_screen_shows(tmp_path: Path) -> None:
    from trainctl.panel.data.watcher import Watcher
    from trainctl.panel.widgets.overlay import MAX_DRAWN, Overlay

    run = make_run(tmp_path, "a", [])
    run.metrics.write_text("".join(f'{{"step": {step}, "loss": {step}}}\n' for step in range(1, 3500)))
    watcher = Watcher(tmp_path)
    watcher.rows()
    with ExitStack() as stack:
        overlay = Overlay(watcher, stack)
        curves = watcher.curves("a")
        assert curves is not None
        curves.look()
        overlay.choose(["a"])
        assert MAX_DRAWN / 2 < len(overlay._lines.data["step"][0]) <= MAX_DRAWN
