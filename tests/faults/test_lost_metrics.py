"""Metrics that a full disk did not take: training goes on, the run is failed and says so, and runs again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainctl.config import yaml
from trainctl.rundir import files

ROOT = Path(__file__).resolve().parents[2]
APP = """
import os, time
import hydra, trainctl
from omegaconf import OmegaConf

def fill(path, pages):
    with open(path, "wb", buffering=0) as file:
        while os.statvfs(path).f_bavail > pages:
            file.write(b"x" * 4096)

def train(cfg):
    live = trainctl.live(cfg, **({"run_dir": cfg.run_dir} if "run_dir" in cfg else {}))
    for step in live.track(range(6)):
        if step == 3 and os.environ.get("PAGES"):
            fill(os.path.join(cfg.disk, "filler"), int(os.environ["PAGES"]))
        live.log(loss=step, text="x" * (100_000 if step >= 3 else 1))
        if step == 5 and os.environ.get("GIVE_BACK"):
            time.sleep(1)
            os.unlink(os.path.join(cfg.disk, "filler"))
    open(cfg.trained, "a").write("trained ")
    return 7

main = hydra.main(version_base=None, config_path="conf", config_name="config")(train)
"""
ENDINGS = {
    "hydra": "if __name__ == '__main__': main()",
    "plain": "cfg = OmegaConf.load('conf/config.yaml'); cfg.merge_with_dotlist(__import__('sys').argv[1:]); train(cfg)",
    "torchrun": """
if os.environ.get("CHILD"):
    cfg = OmegaConf.load("conf/config.yaml")
    del cfg["defaults"]
    train(cfg)
else:
    train = lambda cfg: __import__("subprocess").run(
        [__import__("sys").executable, __file__], env={**os.environ, "CHILD": "1", "RANK": "0"}, check=True)
    train.__module__ = "__main__"
    hydra.main(version_base=None, config_path="conf", config_name="config")(train)()
""",
}
WAYS = {
    "callback": ("hydra", ["hydra.run.dir={run}"], ["config=callback"]),
    "live alone": ("hydra", ["hydra.run.dir={run}"], []),
    "no hydra": ("plain", ["run_dir={run}"], []),
    "rank of a job": ("torchrun", ["hydra.run.dir={run}"], ["config=callback"]),
    **{
        start: (
            "hydra",
            ["-m", "disk={disk},{disk}", "hydra/launcher=slots", f"hydra.launcher.start={start}",
             "hydra.sweep.dir={disk}", "hydra.sweep.subdir=run", "hydra.launcher.slots=1"],
            ["one"],
        )
        for start in ("fork", "spawn")
    },
}  # fmt: skip
Run = Callable[..., subprocess.CompletedProcess[str]]
REASON = "metrics.jsonl could not be written from step 4 on (No space left on device)"


def prepared(tmp_path: Path, disk: Path, way: str) -> Run:
    ending, arguments, options = WAYS[way]
    (tmp_path / "app.py").write_text(APP + ENDINGS[ending])
    (tmp_path / "conf").mkdir()
    config = f"disk: {disk}\ntrained: {tmp_path}/trained\n"
    if "config=callback" in options:
        config = (
            f"defaults: [override hydra/callbacks: trainctl, _self_]\n{config}trainctl: {{panel: {{enabled: false}}}}\n"
        )
    (tmp_path / "conf" / "config.yaml").write_text(config)
    if "one" in options:
        arguments = [each for each in arguments if not each.startswith("disk=")]
    command = [each.format(run=disk / "run", disk=disk) for each in arguments]

    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "app.py", *command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def steps(disk: Path) -> list[int]:
    return [each["step"] for each in files.read_lines(disk / "run" / "metrics.jsonl")]


def status(disk: Path) -> dict[str, object]:
    found: dict[str, object] = yaml.loads((disk / "run" / "status.yaml").read_text())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("way", [way for way in WAYS if way != "rank of a job"])
def test_run_whose_metrics_are_lost_is_failed_with_the_reason_and_runs_again(
    tmp_path: Path, disk: Path, way: str
) -> None:
    run = prepared(tmp_path, disk, way)
    done = run(PAGES="16")
    assert (done.returncode, (tmp_path / "trained").read_text()) == (1, "trained "), done.stderr
    assert (status(disk)["state"], status(disk)["exit_code"], status(disk)["reason"]) == ("failed", 1, REASON)
    assert REASON in done.stdout + done.stderr
    assert not (disk / "run" / "result.yaml").exists()
    (disk / "filler").unlink()
    again = run()
    assert (again.returncode, status(disk)["state"]) == (0, "done"), again.stderr
    assert (status(disk)["attempt"], steps(disk)) == (2, [1, 2, 3, 4, 5, 6])
    assert (tmp_path / "trained").read_text() == "trained trained "


def test_rank_that_a_job_started_fails_the_job(tmp_path: Path, disk: Path) -> None:
    run = prepared(tmp_path, disk, "rank of a job")
    done = run(PAGES="16")
    assert (done.returncode, status(disk)["state"]) == (1, "failed"), done.stderr
    assert REASON in done.stderr
    (disk / "filler").unlink()
    assert run().returncode == 0
    assert (status(disk)["state"], steps(disk)) == ("done", [1, 2, 3, 4, 5, 6])


@pytest.mark.slow
@pytest.mark.parametrize("way", ["callback", "no hydra", "fork"])
def test_run_is_done_when_there_is_room_again_before_its_end(tmp_path: Path, disk: Path, way: str) -> None:
    done = prepared(tmp_path, disk, way)(PAGES="16", GIVE_BACK="1")
    assert (done.returncode, status(disk)["state"]) == (0, "done"), done.stderr
    assert steps(disk) == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["callback", "live alone", "no hydra", "fork", "spawn"])
def test_run_on_a_disk_without_any_room_says_that_it_failed_and_why(tmp_path: Path, disk: Path, way: str) -> None:
    run = prepared(tmp_path, disk, way)
    done = run(PAGES="0")
    assert (done.returncode, (tmp_path / "trained").read_text()) == (1, "trained "), done.stderr
    assert "No space left on device" in done.stdout + done.stderr
    reason = str(status(disk)["reason"])
    assert status(disk)["state"] == "failed"
    assert re.fullmatch(REASON.replace("step 4", r"step \d").replace("(", r"\(").replace(")", r"\)"), reason), reason
    assert not (disk / "run" / "result.yaml").exists()
    (disk / "filler").unlink()
    again = run()
    assert (again.returncode, status(disk)["state"], status(disk)["attempt"]) == (0, "done", 2), again.stderr
