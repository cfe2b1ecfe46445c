"""What each signal means: to the launcher as a person or the system sends it, and to a job alone."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from rounds import children_of

WaitUntil = Callable[..., Any]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_end_of_the_system_or_the_terminal_ends_running_jobs(
    app: Any, wait_until: WaitUntil, number: signal.Signals
) -> None:
    sweep = ("x=range(0,5)", "mode=family", "hydra.launcher.slots=2")
    launcher = app.start(*sweep)
    wait_until(lambda: len(app.ran()) == 2 and len(app.processes()) >= 8, "two jobs with two children each")
    launcher.send_signal(number)
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 128 + number
    assert "ending 2 running jobs" in output
    assert "5 jobs: 2 interrupted, 3 not finished: the same command resumes" in output
    assert "Traceback" not in output
    wait_until(lambda: not app.processes(), "all processes are gone")
    assert [app.yaml(f"{x}/status.yaml")["state"] for x in (0, 1)] == ["interrupted"] * 2
    app.go()
    assert app.run(*sweep).returncode == 0
    assert Counter(line for line in app.ran() if line.startswith("end")) == {f"end {x}": 1 for x in range(5)}


def test_terminal_that_closes_does_not_end_a_sweep_started_by_nohup(app: Any, wait_until: WaitUntil) -> None:
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does it: the program inherits it
    try:
        launcher = app.start("x=range(0,3)", "mode=wait", "hydra.launcher.slots=1")
    finally:
        signal.signal(signal.SIGHUP, ignored)
    wait_until(lambda: len(app.ran()) == 1, "a job runs")
    launcher.send_signal(signal.SIGHUP)
    app.go()
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 0, output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "state", "reason"),
    [
        (signal.SIGTERM, "failed", "was killed by SIGTERM (15)"),
        (signal.SIGHUP, "failed", "was killed by SIGHUP (1)"),
        (signal.SIGSEGV, "failed", "was killed by SIGSEGV (11)"),
        (signal.SIGRTMIN + 6, "failed", "was killed by SIGRTMIN+6 (40)"),
        (signal.SIGINT, "interrupted", "KeyboardInterrupt"),
    ],
)
def test_signal_to_a_job_ends_that_job_alone_and_is_named(
    app: Any, wait_until: WaitUntil, number: signal.Signals, state: str, reason: str
) -> None:
    sweep = ("x=range(0,3)", "mode=wait", "hydra.launcher.slots=2")
    launcher = app.start(*sweep)
    wait_until(lambda: len(app.ran()) == 2, "two jobs run")
    os.kill(app.yaml("0/status.yaml")["pid"], number)
    wait_until(lambda: len(app.ran()) == 3, "the next job has the slot")
    app.go()
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 1
    assert reason in output
    assert f"3 jobs: 2 done, 1 {state}" in output
    status = app.yaml("0/status.yaml")
    assert (status["state"], status["reason"]) == (state, reason)
    assert app.run(*sweep).returncode == 0
    assert app.yaml("0/status.yaml")["attempt"] == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_zygote_leaves_signals_to_the_launcher(app: Any, wait_until: WaitUntil, number: signal.Signals) -> None:
    launcher = app.start("x=range(0,3)", "mode=wait", "hydra.launcher.slots=1")
    wait_until(lambda: len(app.ran()) == 1, "a job runs")
    (zygote,) = children_of(launcher.pid)
    os.kill(zygote, number)
    app.go()
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 0, output


def test_job_that_is_interrupted_while_it_answers_is_not_done(app: Any) -> None:
    """Nothing else may write `done` for it: neither its value nor its answer have got out."""
    source = (app.path / "app.py").read_text()
    value = """
class Interrupting:
    def __reduce__(self): os.kill(os.getpid(), signal.SIGINT); time.sleep(60)

"""
    place = "def note(text):\n"
    source = source.replace(place, value + place).replace("return float(cfg.x)", "return Interrupting()")
    (app.path / "app.py").write_text(source)
    done = app.run()
    assert done.returncode == 1
    assert "FAIL  1/1" in done.stderr
    status = app.yaml("0/status.yaml")
    assert (status["state"], app.ran()) == ("interrupted", ["start 0", "end 0"])
    assert not (app.sweep / "0" / "result.yaml").exists()


def test_job_that_died_between_its_last_word_and_its_answer_is_done(app: Any) -> None:
    """What the run dir says counts: the job is asked for again, and answers as a job that was finished earlier."""
    source = (app.path / "app.py").read_text()
    dies = """
    if mode == "mute":
        from trainctl.launch.local.channel import Channel
        Channel.send = lambda channel, word, *_: word == "ended" and os.kill(os.getpid(), signal.SIGKILL)
"""
    place = '    note(f"end {cfg.x}")\n'
    (app.path / "app.py").write_text(source.replace(place, dies + place))
    done = app.run("x=1,2", "mode=mute", "hydra.launcher.slots=1")
    assert done.returncode == 0, done.stderr
    assert app.ran() == ["start 1", "end 1", "start 2", "end 2"]
    assert [app.yaml(f"{x}/status.yaml")["state"] for x in (0, 1)] == ["done", "done"]
