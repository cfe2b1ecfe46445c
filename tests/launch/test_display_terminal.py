"""The live display of a real sweep on a real pseudo terminal."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from screen import Screen


def on_pty(command: list[str], cwd: Path, width: int, height: int, act: Callable[[Screen], None]) -> Screen:
    """Run a command on a real pseudo terminal and return its screen; `act` is called whenever that has changed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "COLUMNS", "LINES")}
    environment["TERM"] = "xterm-256color"
    screen, decoder, unread = Screen(width, height), codecs.getincrementaldecoder("utf-8")(), ""
    process = subprocess.Popen(command, cwd=cwd, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        while True:
            assert select.select([ours], [], [], 60)[0], f"nothing was written for a minute after {screen.shown()}"
            try:
                unread += decoder.decode(os.read(ours, 65536))
            except OSError:  # the terminal's last user has left
                break
            whole = re.fullmatch(r"(.*?)(\x1b[^A-Za-z]*)?", unread, re.DOTALL)
            assert whole is not None
            screen.feed(whole[1])
            unread = whole[2] or ""
            act(screen)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return screen


def test_sweep_on_a_terminal(app: Any) -> None:
    pictures: list[str] = []

    def act(screen: Screen) -> None:
        pictures.append("\n".join(screen.shown()))
        if "2 left" in pictures[-1] and pictures[-1].count("START") == 2:
            app.go()

    screen = on_pty(app.command("x=1,2", "mode=wait", "hydra.launcher.slots=2"), app.path, 80, 24, act)
    rows = re.compile(
        r"cpu +[12]/2 +[01] x=[12] +[\d.]+ s\ncpu +[12]/2 +[01] x=[12] "
    )  # two jobs may say in either order that they run
    assert any(rows.search(picture) for picture in pictures)
    lines = screen.shown()
    assert [line.split()[0] for line in lines[:2]] == ["START", "START"]
    assert {line.partition(" on ")[0].partition("sweep/")[2] for line in lines[:2]} == {"0 (x=1)", "1 (x=2)"}
    assert sum(line.startswith("DONE ") for line in lines) == 2
    assert lines[-1].startswith("2 jobs: 2 done (")
    assert not any("left" in line for line in lines)
    assert screen.is_cursor_shown


@pytest.mark.slow
def test_last_line_of_a_sweep_says_how_its_page_is_shown_again(app: Any) -> None:
    page = ("hydra/callbacks=trainctl", "+trainctl.panel.keep_min=0")
    screen = on_pty(app.command("x=1,2", *page), app.path, 120, 24, lambda _screen: None)
    lines = screen.shown()
    assert lines[-2].startswith("2 jobs: 2 done (")
    assert lines[-1] == "trainctl panel sweep"
    plain = app.run("x=1,2,3", "mode=raise", "hydra.sweep.dir='my sweep'", *page)  # no terminal, and a failure
    assert plain.stderr.splitlines()[-1] == "trainctl panel 'my sweep'"


NOISY = """
import ctypes, os, sys, threading, time, warnings
import hydra
from omegaconf import OmegaConf

libc = ctypes.CDLL(None)

def told(x):
    print("A by a resolver")
    os.system("echo B by its child")
    libc.puts(b"C by C"); libc.fflush(None)
    warnings.warn("D a warning")
    if x == 3: raise ValueError("E no value")
    return x

def chat():
    for _ in range(10):
        time.sleep(0.05)
        print("F by a thread of the launcher")

OmegaConf.register_new_resolver("told", told)

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    print("G by the job")
    time.sleep(0.3)
    return cfg.x

if __name__ == "__main__":
    threading.Thread(target=chat, daemon=True).start()
    main()
"""


@pytest.mark.slow
def test_nothing_that_is_printed_during_a_sweep_is_glued_to_the_picture(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(NOISY)
    (tmp_path / "conf").mkdir()
    preset = "defaults: [trainctl, _self_]\nx: 0\ntrainctl: {panel: {enabled: false}, missing: allow}\n"
    (tmp_path / "conf" / "config.yaml").write_text(preset)
    pictures: list[list[str]] = []
    command = [sys.executable, "app.py", "-m", "x=${told:1},${told:2}", "hydra.launcher.start=spawn"]
    screen = on_pty(command, tmp_path, 100, 200, lambda screen: pictures.append(screen.shown()))
    for picture in pictures:
        bars = [line for line in picture if " left" in line]
        assert len(bars) <= 1, picture
        assert all(line.endswith(" left") for line in bars), picture
    lines = screen.shown()
    assert lines[-1].startswith("2 jobs: 2 done ("), lines
    assert not any(line.startswith(("slot ", "cpu ")) for line in lines)
    assert not any("G by the job" in line for line in lines)
    log = next((tmp_path / "outputs" / "app").glob("X_*/job.log")).read_text()
    for words in ("A by a resolver\n", "B by its child\n", "C by C\n", "D a warning", "G by the job\n"):
        assert words in log
