"""The processor cores that a process may use, from what the kernel tells of its groups: trees of files, and its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from trainctl.launch.slots.cores import limit_threads, thread_environment, usable_cores

V2 = "30 23 0:26 {inside} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup rw\n"
V1 = "31 23 0:27 {inside} /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n"
POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@pytest.fixture(autouse=True)
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))


def tree(root: Path, cgroup: str, mounts: str, **quotas: str) -> Path:
    """Write what the kernel tells: a quota by the group's path, `MAX PERIOD` in v2, `QUOTA` in v1."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    (root / "proc/self/mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/sda rw\n" + mounts)
    for path, quota in quotas.items():
        directory = root / "sys/fs/cgroup" / path
        directory.mkdir(parents=True, exist_ok=True)
        if " " in quota:
            (directory / "cpu.max").write_text(f"{quota}\n")
        else:
            (directory / "cpu.cfs_quota_us").write_text(f"{quota}\n")
            (directory / "cpu.cfs_period_us").write_text("100000\n")
    return root


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 64), ("400000 100000", 4), ("150000 100000", 2), ("50000 100000", 1), ("1 100000", 1)],
)
def test_share_of_v2_is_rounded_up(tmp_path: Path, quota: str, cores: int) -> None:
    assert usable_cores(tree(tmp_path, "0::/\n", V2.format(inside="/"), **{".": quota})) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 64), ("400000", 4), ("350000", 4), ("1000", 1)])
def test_share_of_v1_is_rounded_up(tmp_path: Path, quota: str, cores: int) -> None:
    root = tree(tmp_path, "4:cpu,cpuacct:/\n0::/\n", V1.format(inside="/"), **{"cpu,cpuacct": quota})
    assert usable_cores(root) == cores


@pytest.mark.parametrize(
    ("quotas", "cores"),
    [
        ({"a/b/c": "max 100000", "a/b": "200000 100000", "a": "800000 100000"}, 2),
        ({"a/b/c": "300000 100000", "a": "max 100000"}, 3),
        ({"a/b/c": "800000 100000", "a": "150000 100000"}, 2),
        ({"a/b/c": "max 100000", "a/d": "100000 100000"}, 64),  # a sister's
    ],
)
def test_group_has_no_more_than_the_groups_around_it(tmp_path: Path, quotas: dict[str, str], cores: int) -> None:
    assert usable_cores(tree(tmp_path, "0::/a/b/c\n", V2.format(inside="/"), **quotas)) == cores


def test_groups_of_v1_are_nested_too(tmp_path: Path) -> None:
    quotas = {"cpu,cpuacct/slurm/job_7/step_0": "-1", "cpu,cpuacct/slurm/job_7": "600000", "cpu,cpuacct/slurm": "-1"}
    root = tree(tmp_path, "5:memory:/x\n4:cpu,cpuacct:/slurm/job_7/step_0\n", V1.format(inside="/"), **quotas)
    assert usable_cores(root) == 6


@pytest.mark.parametrize("inside", ["/docker/1f3a", "/"])
def test_container_whose_group_is_told_by_its_path_on_the_host(tmp_path: Path, inside: str) -> None:
    mounts = V1.format(inside=inside)
    root = tree(tmp_path, "4:cpu,cpuacct:/docker/1f3a\n", mounts, **{"cpu,cpuacct": "250000"})
    assert usable_cores(root) == 3


def test_both_versions_at_once_count(tmp_path: Path) -> None:
    mounts = V1.format(inside="/") + "32 23 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    cgroup = "4:cpu,cpuacct:/\n0::/user.slice\n"
    quotas = {"cpu,cpuacct": "500000", "unified/user.slice": "300000 100000"}
    assert usable_cores(tree(tmp_path, cgroup, mounts, **quotas)) == 3


@pytest.mark.parametrize("text", ["", "words", "1 2 3", "0 0", "-5 100000"])
def test_file_that_is_none_limits_nothing(tmp_path: Path, text: str) -> None:
    root = tree(tmp_path, "0::/../../etc\nno group\n", V2.format(inside="/") + "broken - cgroup2\n")
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "sys/fs/cgroup/cpu.max").write_text(text)
    assert usable_cores(root) == 64


def test_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path, "0::/\n", V2.format(inside="/"), **{".": "400000 100000"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert usable_cores(root) == 2


IN_GROUP = """
import os, sys
with open(sys.argv[1] + "/cgroup.procs", "w") as file:
    file.write(str(os.getpid()))
os.sched_getaffinity = lambda pid: set(range(64))
from trainctl.launch.slots.cores import limit_threads, thread_environment, usable_cores
print(usable_cores())
"""


def test_quota_of_a_real_group_is_seen() -> None:
    for parent, name, quota in (
        (Path("/sys/fs/cgroup/cpu"), "cpu.cfs_quota_us", "150000"),
        (Path("/sys/fs/cgroup"), "cpu.max", "150000 100000"),
    ):
        group = parent / f"trainctl-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / name).write_text(quota)
            command = [sys.executable, "-c", IN_GROUP, str(group)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        except OSError:
            continue
        finally:
            group.rmdir()
        assert done.stdout.strip() == "2"
        return
    pytest.skip("no group of processes can be made here")


@pytest.mark.parametrize(("slots", "cores", "share"), [(1, 1, "1"), (2, 16, "8"), (3, 16, "5"), (8, 2, "1")])
def test_share_of_cores_is_at_least_one(slots: int, cores: int, share: str) -> None:
    assert thread_environment(slots, cores, {}) == dict.fromkeys(POOLS, share)


def test_users_own_numbers_stay() -> None:
    assert thread_environment(2, 16, {"OMP_NUM_THREADS": "3"}) == {}
    assert "MKL_NUM_THREADS" not in thread_environment(2, 16, {"MKL_NUM_THREADS": "3"})


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(set_num_threads=calls.append))
    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    return calls


def test_torch_that_is_loaded_already_is_limited(torch: list[int]) -> None:
    limit_threads(thread_environment(2, 6, {}))
    assert torch == [3]


@pytest.mark.parametrize("share", [{}, {"MKL_NUM_THREADS": "2"}])
def test_torch_is_left_alone_where_the_user_has_decided(torch: list[int], share: dict[str, str]) -> None:
    limit_threads(share)
    assert torch == []


def test_blas_of_numpy_that_is_loaded_already_is_limited() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed")
    pytest.importorskip("numpy", reason="NumPy is not installed")

    def threads() -> set[int]:
        return {int(pool["num_threads"]) for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}

    if not threads():
        pytest.skip("this NumPy has no BLAS whose threads can be limited")
    with threadpoolctl.threadpool_limits(limits=2):  # restores what there was
        limit_threads(dict.fromkeys(POOLS, "1"))
        assert threads() == {1}
        limit_threads({"OMP_NUM_THREADS": "2"})  # which the other pools follow
        assert threads() == {2}


def test_missing_threadpoolctl_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    limit_threads(dict.fromkeys(POOLS, "1"))
