"""`trainctl` as a program: its version, its page, what it imports."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

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
    code = "import sys, trainctl.cli; print({'panel', 'bokeh', 'pandas', 'numpy', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
