"""Rounds of drawn faults. `TRAINCTL_FAULT_SEED=7 TRAINCTL_FAULT_ROUNDS=1` draws one again that failed."""

from __future__ import annotations

import pytest
from rounds import FIRST, ROUNDS, Plan, Round
from sweep_app import App


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(FIRST, FIRST + ROUNDS))
def test_each_job_is_completed_once_whatever_is_killed_and_whenever(training: App, seed: int) -> None:
    Round(training, Plan.draw(seed)).run()
