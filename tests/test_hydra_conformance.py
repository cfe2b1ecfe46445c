"""Hydra's own suites for launchers pass for ours: as it is, and with each way of starting a job asked for."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from hydra.core.plugins import Plugins
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, IntegrationTestSuite, LauncherTestSuite

from trainctl.launch.launcher import SlotSweeps

# The suites' own configs are of an older version base, about which Hydra warns.
pytestmark = pytest.mark.filterwarnings("ignore:.*working directory at job runtime:UserWarning")

Plugins.instance()  # Hydra 1.4 wants the plugins found before the suites' fixtures copy the singletons

BATCHES = ["hydra/sweeper=basic", "hydra.sweeper.max_batch_size=2"]
FORK, SPAWN = ["hydra.launcher.start=fork"], ["hydra.launcher.start=spawn"]
FLAGS = ["-m", "hydra/job_logging=hydra_debug", "hydra/job_logging=disabled", "hydra/launcher=slots"]


def each_start(first: object, *given: str) -> list[Any]:
    """Return a suite's parameters with each way of starting jobs; without a word of it jobs are forked here too."""
    return [
        pytest.param(first, [*given]),
        pytest.param(first, [*given, *SPAWN]),
        pytest.param(first, [*given, *FORK], marks=pytest.mark.long),
    ]


@pytest.fixture(autouse=True, scope="module")
def no_launcher_is_left() -> Iterator[None]:
    """End the launchers with their tests: a forked zygote would hold open what other tests wait to see closed."""
    yield
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) is SlotSweeps]


@pytest.mark.parametrize(("launcher_name", "overrides"), each_start("slots"))
class TestSlotLauncher(LauncherTestSuite):
    """Names, directories, overrides and resolvers of sweeps."""


@pytest.mark.parametrize(("launcher_name", "overrides"), each_start("slots", *BATCHES))
class TestSlotLauncherBatched(BatchedSweeperTestSuite):
    """Repeated `launch()` calls."""


@pytest.mark.parametrize(("task_launcher_cfg", "extra_flags"), each_start({}, *FLAGS))
class TestSlotLauncherIntegration(IntegrationTestSuite):
    """Whole programs: working dirs, job names, sweep dirs."""
