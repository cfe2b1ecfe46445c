"""Live sessions for what is bound to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from open_sessions import OpenLive
from session_fixtures import end_run, run

from trainctl.config.yaml import dumps
from trainctl.rundir.paths import RunDir
from trainctl.session.api import live
from trainctl.session.live import Live

__all__ = ["end_run", "run"]


@pytest.fixture
def open_live(run: RunDir, end_run: Callable[[], None]) -> OpenLive:
    """Open a session in `run`, or in another run dir, with entries of its config and edits that it shall repeat."""

    def opened(edits: dict[int, dict[str, Any]] | None = None, *, at: Path | None = None, **entries: Any) -> Live:
        end_run()
        config = OmegaConf.create({**entries, "trainctl": {"seed": 1, "drift": "allow"}})
        if edits is not None:
            path = run.path.parent / "edits.yaml"
            path.write_text(dumps({0: entries, **edits}))
            config.trainctl.replay = str(path)
        return live(config, run_dir=at or run.path)

    return opened


@pytest.fixture
def logged(run: RunDir, end_run: Callable[[], None]) -> Callable[[str], dict[int, Any]]:
    """Return a metric by step, once the run has ended."""

    def values(name: str) -> dict[int, Any]:
        end_run()
        records = map(json.loads, run.metrics.read_text().splitlines())
        return {record["step"]: record[name] for record in records if name in record}

    return values
