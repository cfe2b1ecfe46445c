"""When a job gives its slot back: as soon as its task is over, but never while something of the task may still run."""

from __future__ import annotations

from typing import Any

import pytest

from trainctl.config import yaml

TASK = """
import atexit, os, subprocess, sys, threading, time
import hydra

HERE = os.path.dirname(os.path.abspath(__file__))

def note(text):
    with open(os.path.join(HERE, "ran.txt"), "a") as file:
        file.write(text + "\\n")

def noted(text):
    return text in open(os.path.join(HERE, "ran.txt")).read().splitlines()

def wait_for(condition):
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)

def linger():
    note("lingers")
    wait_for(lambda: os.path.exists(os.path.join(HERE, "go")))
    note("gone")

class Late:
    shape = ()
    def item(self):
        wait_for(lambda: noted("start 1"))
        return 7.0

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    note(f"start {cfg.x}")
    if cfg.x == 1 or cfg.mode == "ok":
        return None
    if cfg.mode == "late":
        return Late()
    if cfg.mode == "hook":
        atexit.register(linger)
    if cfg.mode == "thread":
        threading.Thread(target=linger).start()
    if cfg.mode == "child":
        note("lingers")
        subprocess.Popen([sys.executable, "-c", "import os, sys, time\\nwhile not os.path.exists(sys.argv[1]): "
            "time.sleep(0.01)\\nopen(sys.argv[2], 'a').write('gone\\\\n')", f"{HERE}/go", f"{HERE}/ran.txt"],
            start_new_session=True)
    if cfg.mode == "raise":
        raise ValueError("it broke")

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def leaving(app: Any) -> Any:
    (app.path / "app.py").write_text(TASK)
    return app


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_slot_is_free_before_the_result_is_written(leaving: Any, start: str) -> None:
    done = leaving.run("x=0,1", "mode=late", "hydra.launcher.slots=1", f"hydra.launcher.start={start}")
    assert done.returncode == 0, done.stderr
    assert leaving.ran() == ["start 0", "start 1"]
    assert yaml.loads((leaving.sweep / "0/result.yaml").read_text())["value"] == 7.0


@pytest.mark.parametrize("mode", ["hook", "thread"])
def test_slot_is_kept_while_something_of_the_task_runs(leaving: Any, wait_until: Any, mode: str) -> None:
    launcher = leaving.start("x=0,1", f"mode={mode}", "hydra.launcher.slots=1")
    wait_until(lambda: "lingers" in leaving.ran(), "the task has returned, or is about to")
    wait_until((leaving.sweep / "1/.hydra/config.yaml").exists, "the next job is ready")
    if mode == "hook":  # which runs after the result is written
        wait_until((leaving.sweep / "0/result.yaml").exists, "the task has returned")
    assert "start 1" not in leaving.ran()
    leaving.go()
    launcher.communicate(timeout=60)
    assert launcher.returncode == 0
    assert leaving.ran() == ["start 0", "lingers", "gone", "start 1"]


def test_slot_is_kept_until_what_the_task_started_has_ended(leaving: Any) -> None:
    done = leaving.run("x=0,1", "mode=child", "hydra.launcher.slots=1")
    assert done.returncode == 0, done.stderr
    assert leaving.ran() == ["start 0", "lingers", "start 1"], "it was ended, and then the next job began"


def test_failed_job_gives_its_slot_back(leaving: Any) -> None:
    done = leaving.run("x=0,1", "mode=raise", "hydra.launcher.slots=1")
    assert done.returncode == 1
    assert leaving.ran() == ["start 0", "start 1"]
