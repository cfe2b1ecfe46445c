from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from trainctl.launch.slots.threads import limit_threads, thread_environment

POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


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
