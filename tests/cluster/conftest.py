"""A Slurm for the tests of this folder, and a project whose sweeps run on a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cluster_project import Project
from slurm_node import SlurmNode, missing

PARTS = {
    "test_slurm.py": "Slurm of one node",
    "test_from_login_node.py": "Slurm of two nodes",
    "test_ray.py": "Ray",
    "test_file_system.py": "mounts with and without shared locks",
    "test_several_devices.py": "jobs of several devices and nodes",
    "test_conformance.py": "conformance",
}


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Name the parts that ran, and those that were skipped."""
    stats = terminalreporter.stats
    ran = {Path(each.nodeid.partition("::")[0]).name for kind in ("passed", "failed") for each in stats.get(kind, ())}
    skipped = {Path(str(each.nodeid).partition("::")[0]).name for each in stats.get("skipped", ())} - ran
    for name, files in (("ran", ran), ("were skipped", skipped)):
        parts = [part for file, part in PARTS.items() if file in files]
        if parts:
            terminalreporter.write_line(f"parts of the cluster suite that {name}: {', '.join(parts)}")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmNode]:
    """Return a Slurm with 4 devices; the tests of one process share it."""
    with started(tmp_path_factory.mktemp("slurm")) as node:
        yield node


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmNode]:
    """Return a Slurm with two nodes of 2 devices each, neither of which has the name of this machine."""
    with started(tmp_path_factory.mktemp("slurm"), gpus=2, cpus=4, nodes={"node-a": "", "node-b": ""}) as node:
        yield node


@contextmanager
def started(directory: Path, **options: Any) -> Iterator[SlurmNode]:
    """Run a Slurm for a while; skip the test where there can be none."""
    why = missing()
    if why is not None:
        pytest.skip(why)
    try:
        node = SlurmNode(directory, **options)
    except PermissionError as error:
        pytest.skip(f"Slurm's devices cannot be made here: {error}")
    try:
        node.start()
        yield node
    finally:
        node.stop()


def project_on(node: SlurmNode, folder: Path) -> Iterator[Project]:
    """Yield a project whose sweeps run on a Slurm; end them afterwards."""
    project = Project(folder, ("hydra/launcher=slots_slurm", "hydra.launcher.gpus_per_node=1"), node.environment)
    yield project
    project.end()
    node.run("scancel", "--user=root")


@pytest.fixture
def on_slurm(slurm: SlurmNode, tmp_path: Path) -> Iterator[Project]:
    """Return a project whose sweeps run on that Slurm."""
    yield from project_on(slurm, tmp_path)


@pytest.fixture
def on_nodes(two_nodes: SlurmNode, tmp_path: Path) -> Iterator[Project]:
    """Return a project whose sweeps run on the nodes of that Slurm, and on none of this machine's name."""
    yield from project_on(two_nodes, tmp_path)


@pytest.fixture
def on_ray(tmp_path: Path) -> Iterator[Project]:
    """Return a project whose sweeps run on a Ray of their own with 4 devices that are none."""
    pytest.importorskip("ray", reason="Ray is not installed")
    init = "hydra.launcher.ray.init"
    options = (f"+{init}.num_gpus=4", f"+{init}.num_cpus=4", "+hydra.launcher.ray.remote.num_gpus=1")
    project = Project(tmp_path, ("hydra/launcher=slots_ray", *options), dict(os.environ))
    yield project
    project.end()
