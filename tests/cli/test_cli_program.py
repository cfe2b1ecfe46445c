"""`trainctl` as a program: its version, its page, what it imports."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made import CLI, Cli

import trainctl


def test_version_is_the_package_version(cli: Cli) -> None:
    assert cli("--version").stdout == f"trainctl {trainctl.__version__}\n"


def test_panel_shows_the_page_until_it_is_interrupted(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "outputs").mkdir()
    with subprocess.Popen([*CLI, "panel"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/.*token=.*\n", process.stdout.readline())
            assert process.stdout.readline().startswith("to look only: http://127.0.0.1:")
            assert "Ctrl-C" in process.stdout.readline()
            process.send_signal(2)
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_cli_import_is_light(environment: dict[str, str]) -> None:
    heavy = {"panel", "bokeh", "pandas", "numpy", "torch", "hydra"}
    code = f"import sys, trainctl.cli.app; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_completion_is_installed_and_completes(tmp_path: Path, environment: dict[str, str]) -> None:
    program = tmp_path / "bin" / "trainctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m trainctl "$@"\n')
    program.chmod(0o755)
    (tmp_path / "outputs").mkdir()
    home = {"HOME": str(tmp_path), "PATH": f"{program.parent}:{environment.get('PATH', os.defpath)}"}

    def bash(script: str, **more: str) -> str:
        command = ["bash", "--norc", "-c", script]
        done = subprocess.run(command, cwd=tmp_path, env=environment | home | more, capture_output=True, check=True)
        return done.stdout.decode()

    bash("trainctl --install-completion; true")  # by the shell that it is asked from
    asked = """
    . ./.bashrc
    complete -p trainctl
    for line in "trainctl repl" "trainctl ls --sta"; do
        COMP_WORDS=($line) COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _trainctl_completion trainctl; echo "${COMPREPLY[*]}"
    done"""
    kept, *completed = bash(asked).splitlines()
    assert "-o default" in kept  # names of files, where the command has nothing to say
    assert completed == ["replay", "--state"]
    for shell, sign in (("zsh", "#compdef trainctl"), ("fish", "complete --command trainctl")):
        shown = bash(f"trainctl --show-completion {shell}", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
        assert shown.startswith(sign)
