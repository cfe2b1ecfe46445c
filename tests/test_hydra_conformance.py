"""Hydra's own suites for launchers pass for ours: as it is, and with each way of starting a job asked for."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from hydra.core.plugins import Plugins
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, IntegrationTestSuite, LauncherTestSuite

from trainctl.launch.launcher import SlotSweeps

# The suites' own configs are of an older version base, about which Hydra warns.
pytestmark = pytest.mark.filterwarnings("ignore:.*working directory at job runtime:UserWarning")

Plugins.instance()  # Hydra 1.4 wants the plugins found before the suites' fixtures copy the singletons

STARTS: list[list[str]] = [[], ["hydra.launcher.start=fork"], ["hydra.launcher.start=spawn"]]
BATCHES = ["hydra/sweeper=basic", "hydra.sweeper.max_batch_size=2"]
FLAGS = ["-m", "hydra/job_logging=hydra_debug", "hydra/job_logging=disabled", "hydra/launcher=slots"]


@pytest.fixture(autouse=True)
def no_launcher_is_left() -> Iterator[None]:
    """End the launchers of a test with it: a forked zygote would hold open what other tests wait to see closed."""
    yield
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) is SlotSweeps]


@pytest.mark.parametrize(("launcher_name", "overrides"), [("slots", start) for start in STARTS])
class TestSlotLauncher(LauncherTestSuite):
    """Names, directories, overrides and resolvers of sweeps."""


@pytest.mark.parametrize(("launcher_name", "overrides"), [("slots", BATCHES + start) for start in STARTS])
class TestSlotLauncherBatched(BatchedSweeperTestSuite):
    """Repeated `launch()` calls."""


@pytest.mark.parametrize(("task_launcher_cfg", "extra_flags"), [({}, FLAGS + start) for start in STARTS])
class TestSlotLauncherIntegration(IntegrationTestSuite):
    """Whole programs: working dirs, job names, sweep dirs."""
