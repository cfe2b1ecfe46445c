"""A rank that dies ends the others with a sentence; none of them waits for ever."""

from __future__ import annotations

import json
import os
import signal

import pytest
from rank_processes import PATIENCE_S, Ranks, StartRanks, ask

from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status, state_of

pytest.importorskip("torch", reason="PyTorch is not installed")
# Gloo notices at once that a rank has died, but for one that dies just while it is sent to: then only after its time.
NOTICED_S = "timeout_s=60"
pytestmark = pytest.mark.timeout(900)  # several processes, each of which imports PyTorch


def errors_of_survivors(ranks: Ranks, killed: int) -> list[str]:
    """Kill a rank and return how the others ended; they fail by themselves, not by a signal."""
    ranks.processes[killed].kill()
    ends = {rank: process.communicate(timeout=PATIENCE_S)[1] for rank, process in enumerate(ranks.processes)}
    assert ranks.processes[killed].returncode == -signal.SIGKILL
    survivors = [rank for rank in ends if rank != killed]
    assert [ranks.processes[rank].returncode for rank in survivors] == [1] * len(survivors)
    return [json.loads((ranks.out / f"rank{rank}.json").read_text())["error"] for rank in survivors]


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 2])
def test_rank_that_is_killed_ends_the_others_with_a_sentence(start_ranks: StartRanks, run: RunDir, killed: int) -> None:
    asked = ask(run, {"n": 1}, at=3)  # by then all ranks wait no longer than that
    ranks = start_ranks(3, "sums=false", NOTICED_S)
    ranks.until_answered(asked)
    for error in errors_of_survivors(ranks, killed):
        assert error.startswith("RankError: the ranks of this run have lost each other at step")
        assert "one has ended, or does not come to live.step()" in error
    if killed == 0:
        assert state_of(run) == "interrupted"
    else:
        status = read_status(run)
        assert status is not None
        assert status.state == "failed"
        assert "lost each other" in str(status.reason)


@pytest.mark.parametrize("killed", [0, 1])
def test_rank_that_is_killed_during_a_pause_ends_the_others(start_ranks: StartRanks, run: RunDir, killed: int) -> None:
    asked = ask(run, action="pause", at=3)
    ranks = start_ranks(2, NOTICED_S)
    ranks.until_answered(asked)
    (error,) = errors_of_survivors(ranks, killed)
    assert error.startswith("RankError: the ranks of this run have lost each other at step")


@pytest.mark.slow
def test_rank_that_stands_still_ends_the_others_after_the_timeout(start_ranks: StartRanks, run: RunDir) -> None:
    asked = ask(run, {"n": 1}, at=3)
    ranks = start_ranks(2, "sums=false", "timeout_s=8")
    ranks.until_answered(asked)
    os.kill(ranks.processes[0].pid, signal.SIGSTOP)
    ranks.processes[1].communicate(timeout=PATIENCE_S)
    error = json.loads((ranks.out / "rank1.json").read_text())["error"]
    assert error.startswith("RankError: the ranks of this run have lost each other at step")
    assert "does not come to live.step()" in error
