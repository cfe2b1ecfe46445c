"""A run of commands as `trainctl run` has it, at any moment of it; it runs for as long as its lock is held."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainctl.config import yaml
from trainctl.rundir import files
from trainctl.rundir.lock import RunLock
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, write_status

SECRET = "sk-verysecret-123"


class MadePipeline:
    """Its config has a secret; what its commands do is what a test says."""

    def __init__(self, path: Path) -> None:
        self.run = RunDir.at(path)
        self.run.create()
        (path / ".hydra").mkdir()
        self.run.config.write_text(yaml.dumps({"login": {"api_key": SECRET}}))
        files.write_yaml(self.run.run, {"name": path.name, "overrides": []})
        self.write("job", "prepare: echo\ntrain: python train.py\n")
        self._lock = RunLock(self.run.lock)
        assert self._lock.acquire()

    def write(self, name: str, text: str) -> None:
        (self.run.path / f"{name}.log").write_text(text)

    def says(self, **states: str) -> None:
        """Write what became of each command; the run runs."""
        commands: dict[str, Any] = {name: {"state": state} for name, state in states.items()}
        write_status(self.run, Status(**{**_begun(), "commands": commands}))

    def end(self, state: Any, reason: str | None = None, **states: str) -> None:
        """End the run, its commands as they are told."""
        commands: dict[str, Any] = {name: {"state": said, "exit_code": 3} for name, said in states.items()}
        write_status(self.run, Status(**{**_begun(), "state": state, "reason": reason, "commands": commands}))
        self._lock.release()


def _begun() -> dict[str, Any]:
    return {"state": "running", "slot": "0", "host": "here", "started": 1000.0}
