"""A user who may start no more processes: fork failed, says the one line, and nothing hangs or is done untruly."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainctl.rundir.paths import RunDir, find_runs
from trainctl.rundir.status import read_status

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user, who has no other processes")
USER = 1_000_000 + os.getpid()  # nobody else's
# Everything is loaded by a first sweep: the other user may not read this environment.
APP = """
import os, resource, sys
import hydra, trainctl
from trainctl.compose.job import prepare

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    if cfg.live:
        for _ in trainctl.live(cfg).track(range(2)):
            pass
    return float(cfg.x)

if __name__ == "__main__":
    limit, user = int(sys.argv.pop(1)), int(sys.argv.pop(1))
    given, own = sys.argv, sys.argv[0]
    for words in (["hydra.run.dir=warm/one", "live=true"], ["-m", "hydra.sweep.dir=warm"]):
        sys.argv = [own, *words, "trainctl.panel.enabled=false"]
        main()
    sys.argv = given
    prepare()  # jobs load this, a launcher does not
    if user:
        os.setgroups([]); os.setgid(user); os.setuid(user)
    if limit:
        resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
    print("limited", flush=True)
    main()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users may write: those of pytest are its user's own."""
    path = Path(tempfile.mkdtemp(prefix="trainctl-test-"))
    (path / "conf").mkdir()
    (path / "conf" / "config.yaml").write_text("defaults: [trainctl, _self_]\nx: 1\nlive: false\n")
    (path / "app.py").write_text(APP)
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


def run(place: Path, limit: int, *words: str, user: int = USER) -> tuple[int, list[str]]:
    """Run the app under a limit; return its exit code and what it said since then."""
    done = subprocess.run(
        [sys.executable, "app.py", str(limit), str(user), *words],
        cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    _, is_limited, said = done.stdout.partition("limited\n")
    assert is_limited, done.stdout[-2000:]
    return done.returncode, said.splitlines()


SWEEP = ("-m", "x=1,2,3", "hydra.sweep.dir=sweep", "hydra.launcher.slots=2", "trainctl.panel.enabled=false")


def why(limit: int) -> str:
    allowed = f"`ulimit -u` allows this user {limit} processes and threads"
    return f"fork failed (Resource temporarily unavailable; {allowed})"


def states(place: Path) -> list[str | None]:
    found = [read_status(run) for run in find_runs(place / "sweep")]
    return sorted(None if each is None else each.state for each in found)


@pytest.mark.slow
def test_sweep_without_a_process_for_its_jobs_says_that_fork_failed(place: Path) -> None:
    user = USER if os.geteuid() == 0 else 0
    code, said = run(place, 1, *SWEEP, user=user)
    assert code == 1
    assert said[0] == f"no job can be started: {why(1)}"
    assert states(place) == []


@pytest.mark.slow
@as_root
def test_jobs_without_a_process_fail_with_the_reason_and_are_run_again(place: Path) -> None:
    code, said = run(place, 2, *SWEEP)  # for the launcher, and for the process that starts jobs
    assert code == 1
    assert [line.split(" after")[0] for line in said if line.startswith("FAIL ")] == [
        f"FAIL  {number}/3 (not started)" for number in (1, 2, 3)
    ]
    assert sum(line.startswith("FAIL ") and f": was not started: {why(2)}" in line for line in said) == 3
    assert "Traceback" not in "".join(said)
    assert states(place) == []
    code, said = run(place, 0, *SWEEP)
    assert (code, states(place)) == (0, ["done"] * 3)


@pytest.mark.slow
@as_root
def test_fewer_jobs_run_at_once_where_there_are_processes_for_some(place: Path) -> None:
    code, said = run(place, 3, *SWEEP)
    assert code == 0, said
    assert said.count(f"waiting: {why(3)}") == 1
    assert [line.split()[:2] for line in said if line.startswith("DONE")] == [["DONE", f"{at}/3"] for at in (1, 2, 3)]
    assert states(place) == ["done"] * 3


@pytest.mark.slow
@as_root
@pytest.mark.parametrize("words", [SWEEP, ("hydra.run.dir=sweep/one",)])
def test_run_without_the_thread_of_its_session_has_failed(place: Path, words: tuple[str, ...]) -> None:
    limit = 3 if "-m" in words else 1
    code, said = run(place, limit, *words, "live=true")
    assert code == 1
    reason = (
        "the thread that reads requests and writes metrics cannot be started: no more threads; "
        f"`ulimit -u` allows this user {limit} processes and threads"
    )
    assert reason in "\n".join(said)
    assert states(place) == ["failed"] * (3 if "-m" in words else 1)
    if "-m" not in words:
        status = read_status(RunDir.at(place / "sweep" / "one"))
        assert status is not None
        assert status.reason == reason
        assert f"job.log: what the run prints cannot be copied there: {why(1)}" in "\n".join(said)
        assert f"no page for {place}/sweep: its process cannot be started: {why(1)}" in "\n".join(said)
