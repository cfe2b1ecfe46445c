"""The line about a run: of a pipeline, what became of each command."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from made_sweep import make_run

from trainctl.panel.data.run_view import RunRow
from trainctl.panel.widgets.summary import facts
from trainctl.rundir.status import CommandState


def test_commands_of_a_pipeline_stand_below_the_state_of_the_run(tmp_path: Path) -> None:
    row = RunRow.of(make_run(tmp_path, "a", []))
    assert facts(row).count('class="facts"') == 1
    commands = [
        CommandState("train", "done", 0, None, 75.0), CommandState("avg", "failed", 3, None, 0.5),
        CommandState("test", "running", None, None, 130.0), CommandState("<b>", '"x"', None, None, None),
    ]  # fmt: skip
    text = facts(dataclasses.replace(row, summary=dataclasses.replace(row.summary, commands=commands)))
    assert text.count('class="facts"') == 2
    shown = [re.sub(r"<[^>]*>", "", part).strip() for part in re.findall(r"<span>(.*?</span>.*?)</span>", text)][-4:]
    # the time of one that runs is told by the minute, so that the page is not drawn again each second
    assert shown == ["train done 1 min 15 s", "avg failed (3) 0.5 s", "test running 2 min", "&lt;b&gt; &quot;x&quot;"]
