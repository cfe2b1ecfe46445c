"""A Slurm for the tests of this folder, and a project whose sweeps run on a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_project import Project
from slurm_node import SlurmNode, missing


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmNode]:
    """Return a Slurm with 4 devices; the tests of one process share it."""
    why = missing()
    if why is not None:
        pytest.skip(why)
    try:
        node = SlurmNode(tmp_path_factory.mktemp("slurm"))
    except PermissionError as error:
        pytest.skip(f"Slurm's devices cannot be made here: {error}")
    node.start()
    yield node
    node.stop()


@pytest.fixture
def on_slurm(slurm: SlurmNode, tmp_path: Path) -> Iterator[Project]:
    """Return a project whose sweeps run on that Slurm."""
    project = Project(tmp_path, ("hydra/launcher=slots_slurm", "hydra.launcher.gpus_per_node=1"), slurm.environment)
    yield project
    project.end()
    slurm.run("scancel", "--user=root")


@pytest.fixture
def on_ray(tmp_path: Path) -> Iterator[Project]:
    """Return a project whose sweeps run on a Ray of their own with 4 devices that are none."""
    pytest.importorskip("ray", reason="Ray is not installed")
    init = "hydra.launcher.ray.init"
    options = (f"+{init}.num_gpus=4", f"+{init}.num_cpus=4", "+hydra.launcher.ray.remote.num_gpus=1")
    project = Project(tmp_path, ("hydra/launcher=slots_ray", *options), dict(os.environ))
    yield project
    project.end()
