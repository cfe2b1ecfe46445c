"""The bar of `live.track`: on a terminal, and nowhere else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pseudo_terminal import on_terminal
from screen import Screen

TRAINING = """
import sys
from omegaconf import OmegaConf
import trainctl

live = trainctl.live(OmegaConf.create({"n": 1}), run_dir="run")
for _ in live.track(range(50)):
    live.log(loss=0.5 / live.step_number, note="x")
print("over")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(TRAINING)
    return path


def test_terminal_shows_steps_rate_and_latest_metrics(script: Path) -> None:
    written = on_terminal([sys.executable, script.name], script.parent, columns=100)
    *_, last, over = written.replace("\r\n", "\n").replace("\r", "\n").strip().split("\n")
    assert over == "over"
    assert "100% ████████████████████████ 50/50  " in last
    assert last.endswith("/s  loss 0.01")
    assert len(last) < 100


def test_pipe_shows_nothing(script: Path) -> None:
    command = [sys.executable, script.name]
    done = subprocess.run(command, cwd=script.parent, capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("over\n", "")


@pytest.mark.parametrize("arguments", [["hydra/launcher=slots", "hydra.launcher.slots=1", "-m"], []])
def test_bar_is_in_no_log_and_not_in_a_job_of_the_launcher(task: Any, arguments: list[str]) -> None:
    written = on_terminal([sys.executable, "app.py", *arguments], task.path, columns=100)
    log = task.only_run().log.read_text()
    assert "begin 0.1" in log
    assert "█" not in log
    assert ("█" in written) == (not arguments)


NOISE = """
    if step == 1: logging.getLogger("a").warning("A by logging")
    if step == 3: print("B by print")
    if step == 5: print("C to stderr", file=sys.stderr)
    if step == 7: warnings.warn("D a warning")
    if step == 9: os.system("echo E by a child; echo F to its stderr >&2")
    if step == 11: libc.puts(b"G by C"); libc.fflush(None)
    if step == 13: Console(force_terminal=True).print("[bold]H by rich[/bold]")
    if step == 15:
        for share in (10, 55, 100): sys.stderr.write(f"\\rI {share} %"); sys.stderr.flush(); time.sleep(0.15)
        sys.stderr.write("\\n")
    if step == 17: print("J half a line", end="", flush=True); time.sleep(0.3); print(" and its end")
    time.sleep(0.12)
"""
LOUD = f"""
import ctypes, logging, os, sys, time, warnings
from omegaconf import OmegaConf
from rich.console import Console
import hydra, trainctl

libc = ctypes.CDLL(None)

def train(live):
  for step in live.track(range(20)):
    live.log(loss=0.5)
{NOISE}
  print("K over")

if sys.argv[1:] == ["plain"]:
    train(trainctl.live(OmegaConf.create(dict(n=1)), run_dir="run"))
else:
    hydra.main(version_base=None, config_path="conf", config_name="config")(lambda cfg: train(trainctl.live(cfg)))()
"""


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["plain"], ["hydra.run.dir=run"]])
def test_whatever_is_printed_stands_above_the_bar_and_never_beside_it(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "train.py").write_text(LOUD)
    (tmp_path / "conf").mkdir()
    preset = "defaults: [trainctl, _self_]\ntrainctl: {panel: {enabled: false}}\n"
    (tmp_path / "conf" / "config.yaml").write_text(preset)
    written = on_terminal([sys.executable, "train.py", *arguments], tmp_path, columns=90)
    screen, bars = Screen(90, 50), 0
    for part in re.split(r"(?<=m)|(?=\r)", written):  # as it was painted, little by little
        screen.feed(part)
        bars += any("█" in line for line in screen.shown())
        glued = [line for line in screen.shown() if "loss 0.5" in line and not re.search(r"loss 0\.5$", line)]
        assert not glued
    assert bars > 20
    lines = screen.shown()
    begun = [line[0] for line in lines if re.match(r"[A-K] (by|to|a|half|over|100)", line)]
    expected = "ABCEFGHIJK" if arguments == ["plain"] else "BCEFGHIJK"  # Hydra's log lines begin with a time
    assert "".join(begun) == expected, lines
    assert sum("█" in line for line in lines) == 1
    assert lines[-2].startswith("100% █"), lines
    assert "J half a line and its end" in lines
    assert any("A by logging" in line for line in lines)
    assert "UserWarning: D a warning" in "".join(lines)
    if arguments != ["plain"]:
        log = (tmp_path / "run" / "job.log").read_text()
        assert "█" not in log
        assert "trainctl-bar" not in log
        assert "J half a line and its end\n" in log
