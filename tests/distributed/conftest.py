"""Ranks that are started by a test and do not outlive it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rank_processes import Ranks, StartRanks, app_command
from session_fixtures import run

from trainctl.rundir.paths import RunDir

__all__ = ["run"]


@pytest.fixture
def start_ranks(run: RunDir, tmp_path: Path) -> Iterator[StartRanks]:
    """Start `ranks_app.py` on so many ranks; arguments without a name are `key=value`. What still runs is killed."""
    started: list[Ranks] = []

    def start(count: int, *overrides: str, command: list[str] | None = None, **environment: str) -> Ranks:
        out = tmp_path / f"out{len(started)}"
        ranks = Ranks(count, run, out, command or app_command(run, out, *overrides), **environment)
        started.append(ranks)
        return ranks

    yield start
    for ranks in started:
        ranks.kill()
