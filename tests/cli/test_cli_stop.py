"""`trainctl stop`: a sweep as Ctrl-C does it, a run with all of its processes; and never anything else."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made import CLI, TRAINER, Answer, Cli, assert_refused, finished

from trainctl.launch.registry import find
from trainctl.rundir import files
from trainctl.rundir.lock import RunLock
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, note_stop, state_of, stopped_by, write_status
from trainctl.rundir.summary import summarize

Wait = Callable[..., Any]


def call(app: Any, *arguments: str) -> Answer:
    return subprocess.run(
        [*CLI, *arguments], cwd=app.path, env=dict(os.environ), capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def waiting(app: Any, wait_until: Wait) -> subprocess.Popen[str]:
    """A sweep of three jobs on one slot, the first of which waits."""
    process: subprocess.Popen[str] = app.start("x=1,2,3", "mode=wait", "hydra.launcher.slots=1")
    wait_until(lambda: app.ran() == ["start 1"], "the first job starts")
    return process


def test_stop_lets_running_jobs_finish(app: Any, waiting: subprocess.Popen[str], wait_until: Wait) -> None:
    answer = call(app, "stop", "sweep")
    assert answer.stdout == (
        f"process {waiting.pid} starts no more jobs and lets its 1 running job finish; "
        "`trainctl stop --now sweep` ends them\n"
    )
    assert answer.returncode == 0
    app.go()
    out, _ = waiting.communicate(timeout=60)
    assert "no new jobs; waiting for 1 running job" in out
    assert waiting.returncode == 130
    assert app.ran() == ["start 1", "end 1"]


@pytest.mark.slow
def test_stop_now_ends_running_jobs(app: Any, waiting: subprocess.Popen[str]) -> None:
    answer = call(app, "stop", "--now", "--wait", "sweep")
    assert answer.stdout == f"process {waiting.pid} ends its 1 running job; the same command resumes the sweep\n"
    assert find(app.sweep) == []
    waiting.communicate(timeout=60)
    assert waiting.returncode == 128 + signal.SIGTERM
    assert state_of(RunDir.at(app.sweep / "0")) == "interrupted"
    app.go()
    assert app.run("x=1,2,3", "mode=wait").returncode == 0


@pytest.mark.slow
def test_stop_reaches_a_detached_sweep_by_its_name(app: Any, wait_until: Wait) -> None:
    app.run("x=1,2", "mode=wait", "hydra.sweep.dir=outputs/mine", "hydra.launcher.detach=true")
    wait_until(app.ran, "the first job starts")
    listed = call(app, "ls")
    (launcher,) = find(app.path / "outputs" / "mine")
    assert f"process {launcher.pid} has been launching jobs in outputs/mine since" in listed.stderr
    assert call(app, "stop", "mine", "--now", "--wait").returncode == 0
    assert find(app.path / "outputs" / "mine") == []
    assert_refused(call(app, "stop", "mine"), "no launcher works in outputs/mine, so there is nothing to stop")


@pytest.mark.slow
@pytest.mark.parametrize(("options", "code"), [((), 128 + signal.SIGINT), (("--now",), 128 + signal.SIGTERM)])
def test_stop_reaches_a_launcher_on_another_machine(
    app: Any, waiting: subprocess.Popen[str], options: tuple[str, ...], code: int
) -> None:
    elsewhere = ("unshare", "--uts", "sh", "-c", 'hostname login-2 && exec "$@"', "sh")
    if subprocess.run([*elsewhere, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not give a process another host name")

    answer = subprocess.run(
        [*elsewhere, *CLI, "stop", *options, "sweep"],
        cwd=app.path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    told = "ends its 1 running job" if options else "starts no more jobs and lets its 1 running job finish"
    assert answer.stdout.startswith(f"process {waiting.pid} of {socket.gethostname()} {told}; "), answer.stderr
    assert answer.returncode == 0
    if not options:
        app.go()
    waiting.communicate(timeout=60)
    assert waiting.returncode == code
    assert "end 2" not in app.ran()
    assert not list((app.sweep / ".trainctl" / "launchers").iterdir())


@pytest.mark.slow
def test_stop_of_a_run_ends_it_and_its_children_but_not_the_sweep(app: Any, wait_until: Wait) -> None:
    sweep = app.start("x=1,2", "mode=family", "hydra.launcher.slots=1", "hydra.launcher.retries=3")
    wait_until(
        lambda: sum(process.info["name"] == "sleep" for process in app.processes()) == 1, "the first job's child"
    )
    answer = call(app, "stop", "sweep/0")
    assert answer.stdout.startswith("sweep/0 was stopped (process ")
    wait_until(lambda: app.ran() == ["start 1", "start 2"], "the second job starts")
    app.go()
    out, _ = sweep.communicate(timeout=60)
    assert app.ran() == ["start 1", "start 2", "end 2"]
    who = stopped_by(RunDir.at(app.sweep / "0"))
    assert f"stopped by {who}" in out
    assert "RETRY" not in out
    assert app.yaml("0/status.yaml")["state"] == "stopped"
    assert f"stopped: by {who}" in call(app, "show", "sweep/0").stdout


@pytest.mark.slow
def test_stubborn_run_is_killed_after_its_grace(app: Any, wait_until: Wait) -> None:
    sweep = app.start("x=1", "mode=stubborn")
    wait_until(lambda: "stubborn" in app.ran(), "the job ignores TERM")
    answer = call(app, "stop", "sweep/0", "--grace", "0.3")
    assert answer.stdout.startswith("sweep/0 did not end within 0.3 s and was killed (process ")
    sweep.communicate(timeout=60)
    assert state_of(RunDir.at(app.sweep / "0")) == "stopped"


@pytest.mark.slow
def test_stop_of_a_plain_run_interrupts_it_alone(cli: Cli, trainer: RunDir) -> None:
    assert cli("stop", "Norm_new").stdout.startswith("outputs/train/Norm_new was stopped (process ")
    assert files.read_mapping(trainer.status)["state"] == "stopped"


def test_run_started_in_the_background_of_a_script_is_ended_by_term(
    cli: Cli, tmp_path: Path, environment: dict[str, str], wait_until: Wait
) -> None:
    """A shell without job control has what it starts with `&` ignore SIGINT."""
    (tmp_path / "trainer.py").write_text(TRAINER)
    run = RunDir.at(tmp_path / "outputs" / "train" / "Norm_new")
    script = f"{shlex.join([sys.executable, 'trainer.py', str(run.path)])} & wait $!; echo $?"
    with subprocess.Popen(["sh", "-c", script], cwd=tmp_path, env=environment, stdout=subprocess.PIPE) as shell:
        wait_until(lambda: run.progress.exists() and "step" in files.read_mapping(run.progress), "it trains")
        try:
            answer = cli("stop", "Norm_new", "--grace", "60")
        finally:
            (tmp_path / "stop").touch()
        assert answer.stdout.startswith("outputs/train/Norm_new was stopped (process "), answer.stderr
        assert shell.communicate(timeout=60)[0].decode().split() == [str(128 + signal.SIGTERM)]


def test_run_that_does_not_run_is_left_alone(cli: Cli, tmp_path: Path) -> None:
    finished(tmp_path / "outputs" / "train" / "a")
    assert_refused(cli("stop", "a"), r"outputs/train/a is not running \(done\); nothing was stopped")
    assert_refused(cli("stop", "outputs/train"), "no launcher works in outputs/train")
    assert_refused(cli("stop", "nothing"), "there is no run 'nothing'")


@pytest.fixture
def innocent() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the number of a run's process, but is another."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"]) as process:
        yield process
        assert process.poll() is None
        process.kill()


@pytest.mark.parametrize("change", [{"pid_started": 1}, {"host": "elsewhere"}, {"boot_id": "earlier"}])
def test_process_that_is_not_the_run_is_never_touched(
    cli: Cli, tmp_path: Path, innocent: subprocess.Popen[bytes], change: dict[str, Any]
) -> None:
    run = RunDir.at(tmp_path / "outputs" / "a")
    run.create()
    lock = RunLock(run.lock)
    assert lock.acquire()
    write_status(run, Status.running_here(attempt=1, slot="0"))
    files.write_yaml(run.status, {**files.read_mapping(run.status), "pid": innocent.pid, **change})
    assert_refused(
        cli("stop", "a"), rf"outputs/a is process {innocent.pid} of .*, which does not run here; stop it there"
    )
    assert not run.stop.exists()
    lock.release()


def test_stop_is_believed_for_that_attempt_only(tmp_path: Path) -> None:
    run = RunDir.at(tmp_path)
    run.create()
    status = Status("running", attempt=2, pid=123)
    write_status(run, status)
    assert stopped_by(run) is None
    note_stop(run, status)
    assert stopped_by(run) is not None
    assert (summarize(run).state, summarize(run).reason) == ("stopped", f"by {stopped_by(run)}")
    write_status(run, Status("running", attempt=3, pid=124))
    assert stopped_by(run) is None
    run.stop.write_text("[torn")
    assert stopped_by(run) is None
