"""Many people at once: open pages edit four runs, and what each was told is what stands in the record, once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from bokeh_client import Session
from sweep_app import wait_until

from trainctl.config import changelog
from trainctl.config.settings import PanelSettings
from trainctl.panel.server import handle as process
from trainctl.rundir.events import read_events
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import state_of

TRAINING = Path(__file__).with_name("loaded_training.py")
MOST_EDITS = 60  # of one page
PATIENCE_S = 240.0

Told = tuple[str, str, int, str]  # run, key, value, answer


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[list[RunDir]]:
    runs = [RunDir.at(tmp_path / "root" / f"run_{number}") for number in range(4)]
    trainings = [subprocess.Popen([sys.executable, str(TRAINING), str(run.path)]) for run in runs]
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not all(run.changelog.exists() for run in runs):
            assert time.monotonic() < deadline, "the trainings have not begun"
            time.sleep(0.05)
        yield runs
        for run in runs:
            Path(f"{run.path}.stop").touch()
        assert [training.wait(PATIENCE_S) for training in trainings] == [0] * 4
    finally:
        for training in trainings:
            training.kill()


async def edit_for(session: Session, run: str, key: str, until: float) -> list[Told]:
    """Edit one key to new values until the time is over; each edit waits for the answer to the last."""
    told: list[Told] = []
    for value in range(1, MOST_EDITS + 1):
        told.append((run, f"free.{key}", value, await session.edit(key, str(value))))
        if time.monotonic() >= until:
            break
    session.close()
    return told


async def edit_all(base: str, headers: dict[str, str], keys: str, duration_s: float) -> list[Told]:
    """Open a page of each run for each key, then edit from all of them at once."""
    people = [(f"run_{run}", key) for run in range(4) for key in keys]
    sessions = [await Session.open(base, f"run/{run}", headers) for run, _ in people]
    until = time.monotonic() + duration_s
    edits = (edit_for(session, *who, until) for session, who in zip(sessions, people, strict=True))
    return [one for told in await asyncio.gather(*edits) for one in told]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("keys", "duration_s"),
    [("ab", 3.0), pytest.param("abcde", 60.0, marks=pytest.mark.long)],
    ids=["eight pages", "twenty pages"],
)
def test_every_acknowledged_edit_of_many_pages_is_in_exactly_one_record(
    runs: list[RunDir], keys: str, duration_s: float
) -> None:
    root = runs[0].path.parent
    handle = process.ensure(root, PanelSettings(keep_min=0))
    assert handle is not None
    try:
        parts = urlsplit(handle.url)
        headers = {"Authorization": f"Bearer {dict(parse_qsl(parts.query))['token']}"}
        told = asyncio.run(edit_all(handle.url.partition("?")[0], headers, keys, duration_s))
    finally:
        handle.close()
    assert len({(run, key) for run, key, _, _ in told}) == 4 * len(keys)
    assert [one for one in told if not one[3].startswith("applied at step")] == []
    wait_until(lambda: not [asked for run in runs for asked in run.inbox.iterdir()], "the last requests have left")
    for run in runs:
        mine = sorted(
            (int(answer.split()[-1].replace(",", "")), key, value)
            for name, key, value, answer in told
            if name == run.name
        )
        log = changelog.loads(run.changelog.read_text())
        assert sorted((edit.step, key, value) for edit in log.edits for key, value in edit.values.items()) == mine
        events = read_events(run)
        assert len([event for event in events if event.state == "applied"]) == len(mine)
        assert state_of(run) == "running"
