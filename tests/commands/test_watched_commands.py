"""Commands outside a slot: with Hydra's own launcher nobody but us ends what they have started."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from pipelines import Pipeline

from trainctl.commands.shell import run_line

BASIC = ("hydra/launcher=basic", "-m")
WaitUntil = Callable[..., object]


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        signal.SIGINT,
        signal.SIGKILL,
        *(pytest.param(how, marks=pytest.mark.long) for how in (signal.SIGTERM, signal.SIGHUP)),
    ],
)
def test_killing_a_run_without_slots_kills_all_that_its_command_started(
    pipeline: Pipeline, wait_until: WaitUntil, how: signal.Signals
) -> None:
    stubborn = "trap '' TERM; " if how == signal.SIGKILL else ""
    started = f"sleep 1000 & ({stubborn}cd / && sleep 1000 | cat) & echo on >> ran.txt; wait"
    pipeline.write({"train": f"[ -e ok ] || {{ {started}; }}", "test": "echo test >> ran.txt"})
    launcher = pipeline.start(*BASIC, slots=None)
    wait_until(pipeline.ran, "the command runs")
    inside = [each for process in pipeline.processes() for each in (process, *process.children(recursive=True))]
    launcher.send_signal(how)
    assert launcher.wait(60) != 0
    wait_until(lambda: not any(each.is_running() for each in inside), "all that the command started has ended")
    (pipeline.path / "ok").touch()
    done = pipeline.run(*BASIC, slots=None)
    assert done.returncode == 0, done.stderr
    assert pipeline.states() == {"train": "done", "test": "done"}
    assert pipeline.ran() == ["on", "test"]


def test_command_without_a_slot_keeps_its_words_its_log_and_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRAINCTL_SLOT", raising=False)
    line = """cat; printf '%s|' 'a  b' "it's" '$x' '' >&2; sh -c 'kill -9 $$' | cat"""
    assert run_line(line, tmp_path / "train.log", tmp_path) == 128 + signal.SIGKILL
    assert (tmp_path / "train.log").read_text().startswith("a  b|it's|$x||")
    assert run_line("kill -TERM $$", tmp_path / "test.log", tmp_path) == -signal.SIGTERM


def test_what_a_finished_command_left_behind_lives_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAINCTL_SLOT", raising=False)
    assert run_line("sleep 1000 & echo $!", tmp_path / "board.log", tmp_path) == 0
    board = int((tmp_path / "board.log").read_text())
    try:
        os.kill(board, 0)
    finally:
        with suppress(ProcessLookupError):
            os.kill(board, signal.SIGKILL)


def test_command_that_cannot_be_started_leaves_no_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAINCTL_SLOT", raising=False)
    made: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def popen(*args: object, **options: object) -> subprocess.Popen[bytes]:
        made.append(real(*args, **options))  # type: ignore[call-overload]
        return made[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run_line("true", tmp_path / "train.log", tmp_path / "nowhere")
    assert [process.poll() for process in made] == [0]
