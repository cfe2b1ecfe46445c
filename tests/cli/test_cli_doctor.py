"""`trainctl doctor` and `python -m trainctl`."""

from __future__ import annotations

import errno
import fcntl
import json
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from made import Cli

import trainctl
from trainctl.cli import doctor


def found(answer: Any) -> dict[str, tuple[str, str]]:
    return {each["subject"]: (each["found"], each["problem"]) for each in json.loads(answer.stdout)}


def test_doctor_tells_versions_gpus_locks_and_ports(cli: Cli, tmp_path: Path) -> None:
    answer = cli("doctor", "--json")
    lines = found(answer)
    assert answer.returncode == 0
    assert lines["omegaconf"] == (version("omegaconf"), "")
    assert lines["hydra-trainctl"][0] == trainctl.__version__
    assert {f"locks in {tmp_path}", "locks of devices", "ports"} < set(lines)
    assert not {"pytest", "ruff", "mkdocs-material"} & set(lines)  # what only development needs


def test_doctor_says_that_a_port_is_taken(cli: Cli) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        answer = cli("doctor", "--json", "--port", str(port))
    assert answer.returncode == 1
    assert found(answer)[f"port {port}"] == ("taken", "Address already in use")


def test_doctor_names_a_version_that_is_not_tested() -> None:
    assert doctor._version("pyyaml", ">=99", None).problem == "tested is >=99"
    assert doctor._version("nowhere-at-all", "", "ray") == ("nowhere-at-all", "not installed (extra ray)", "")
    assert doctor._version("nowhere-at-all", "", None).problem == "it is needed"


def test_doctor_finds_a_file_system_without_locks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert doctor.locks(tmp_path / "not" / "yet") == (f"locks in {tmp_path}", "yes", "")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert "No locks available; give trainctl.locks=DIR" in doctor.locks(tmp_path).problem
    monkeypatch.setenv("TRAINCTL_LOCKS", "/var/tmp/locks")
    assert doctor.locks(tmp_path)[1:] == ("none; kept in /var/tmp/locks", "")


def test_package_is_a_program() -> None:
    command = [sys.executable, "-m", "trainctl", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"trainctl {trainctl.__version__}\n"
