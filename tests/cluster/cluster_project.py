"""A project that is started as a user does: a loop that can be edited, takes checkpoints and goes on from them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml
from waiting import wait_until

PROGRAM = """
import json, os, time
import hydra, trainctl

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    live = trainctl.live(cfg)
    path = trainctl.RunDir.at(hydra.core.hydra_config.HydraConfig.get().runtime.output_dir).path / "ckpt.json"
    total, begin = 0.0, 0
    if path.exists():
        state = json.loads(path.read_text())
        total, begin = state["total"], state["step"]
        live.load_state_dict(state["live"])
    live.log(begin=begin, devices=os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    for step in range(begin + 1, cfg.steps + 1):
        live.step()
        total += cfg.lr * step
        time.sleep(cfg.pause)
        live.log(total=total)
        if cfg.fail_at == step:
            raise ValueError("no luck")
        if live.should_checkpoint:
            path.write_text(json.dumps({"total": total, "step": step, "live": live.state_dict()}))
        if live.should_stop:
            break
    return total

if __name__ == "__main__":
    main()
"""
CONFIG = """
defaults: [trainctl, _self_]
lr: 0.1
steps: 20
pause: 0.01
fail_at: null
trainctl: {panel: {enabled: false}}
hydra: {sweep: {dir: out}}
"""


class Project:
    """Starts sweeps, and reads what they left."""

    def __init__(self, directory: Path, options: Sequence[str], environment: Mapping[str, str]) -> None:
        self.directory = directory
        self.out = directory / "out"
        self._options = list(options)
        self._environment = {**os.environ, **environment}
        self._started: list[subprocess.Popen[str]] = []
        directory.mkdir(exist_ok=True)
        (directory / "train.py").write_text(PROGRAM)
        (directory / "config.yaml").write_text(CONFIG)

    def start(self, *overrides: str, on: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start a sweep; what it says goes into `said`. `on`: the command that has another machine run it."""
        with (self.directory / "said.txt").open("a") as said:
            process = subprocess.Popen(
                [*on, sys.executable, "train.py", "-m", *self._options, *overrides],
                cwd=self.directory, env=self._environment, text=True, stdout=said, stderr=said,
            )  # fmt: skip
        self._started.append(process)
        return process

    def sweep(self, *overrides: str, code: int = 0) -> str:
        """Run a sweep to its end, and return what it said."""
        before = len(self.said)
        process = self.start(*overrides)
        found = process.wait(200)
        assert found == code, self.said
        return self.said[before:]

    @property
    def said(self) -> str:
        path = self.directory / "said.txt"
        return path.read_text() if path.exists() else ""

    def wait_for(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.said.count(text) >= times, f"the sweep says {text!r}:\n{self.said}", deadline_s=240)

    def runs(self) -> list[Path]:
        return sorted(path.parent for path in self.out.glob("*/run.yaml"))

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load((self.out / name / "status.yaml").read_text())
        return found

    def result(self, name: str) -> Any:
        return yaml.safe_load((self.out / name / "result.yaml").read_text())["value"]

    def metrics(self, name: str) -> list[dict[str, Any]]:
        path = self.out / name / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def trainctl(self, *arguments: str) -> str:
        command = [str(Path(sys.executable).with_name("trainctl")), *arguments]
        done = subprocess.run(
            command, cwd=self.directory, env=self._environment, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    def agents(self) -> list[psutil.Process]:
        """Return the processes of the agents that work for this project."""
        mark = str(self.out)
        return [
            each
            for each in psutil.process_iter(["cmdline"])
            if any(word.startswith(mark) and "/launchers" in word for word in each.info["cmdline"] or [])
        ]

    def end(self) -> None:
        """End what still runs."""
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait(30)
        wait_until(lambda: not self.agents(), "all agents end with their launcher", deadline_s=150)
