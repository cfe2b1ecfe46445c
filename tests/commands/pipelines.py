"""`trainctl run` as a person uses it, and what it left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
from sweep_app import processes_in

from trainctl.config import yaml

CLI = [sys.executable, "-c", "from trainctl.cli import main; main()"]
ROOT = Path(__file__).resolve().parents[2]


class Pipeline:
    """A config file with commands, and the runs of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._started: list[subprocess.Popen[bytes]] = []

    def write(self, commands: dict[str, str], **parameters: Any) -> None:
        config = {"defaults": ["trainctl", "_self_"], **parameters, "commands": commands}
        (self.path / "params.yaml").write_text(yaml.dumps(config))

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}

    def command(self, *arguments: str, config: str = "params.yaml", slots: str | None = "2") -> list[str]:
        fixed = ["trainctl.panel.enabled=false", *([] if slots is None else [f"hydra.launcher.slots={slots}"])]
        return [*CLI, "run", "--config", config, *arguments, *fixed]

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*CLI, *arguments], cwd=self.path, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def run(self, *arguments: str, **options: str | None) -> subprocess.CompletedProcess[str]:
        return self.call(*self.command(*arguments, **options)[len(CLI) :])

    def start(self, *arguments: str, **options: str | None) -> subprocess.Popen[bytes]:
        with (self.path / "launcher.log").open("ab") as log:
            process = subprocess.Popen(
                self.command(*arguments, **options), cwd=self.path, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._started.append(process)
        return process

    def run_dir(self, name: str = "default", config: str = "params") -> Path:
        return self.path / "outputs" / config / name

    def runs(self, config: str = "params") -> list[str]:
        return sorted(path.parent.name for path in (self.path / "outputs" / config).glob("*/status.yaml"))

    def status(self, name: str = "default") -> dict[str, Any]:
        file = self.run_dir(name) / "status.yaml"
        return dict(yaml.loads(file.read_text())) if file.exists() else {}

    def states(self, name: str = "default") -> dict[str, str]:
        return {command: record["state"] for command, record in self.status(name).get("commands", {}).items()}

    def ran(self) -> list[str]:
        """List what commands appended to `ran.txt`."""
        file = self.path / "ran.txt"
        return file.read_text().splitlines() if file.exists() else []

    def processes(self) -> list[psutil.Process]:
        """List all living processes that work in this directory."""
        return processes_in(self.path)

    def end(self) -> None:
        """End what the test left running: only processes of this directory."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
        for each in self.processes():
            each.kill()
