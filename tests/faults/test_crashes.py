"""A big sweep in which some jobs die, each in one of five ways: exactly these fail, and exactly these run again."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest
from rounds import FIRST
from sweep_app import App

JOBS = int(os.environ.get("TRAINCTL_FAULT_JOBS", "200"))
WAYS = {
    "raise": ("failed", "RuntimeError: drawn"),
    "exit": ("failed", "the job called sys.exit(7)"),
    "leave": ("failed", "ended its process with exit code 9 before its task returned"),
    "kill": ("failed", "was killed by SIGKILL (9)"),
    "segv": ("failed", "was killed by SIGSEGV (11)"),
}

SOURCE = """
import json, os, signal, sys
import hydra

HERE = os.path.dirname(os.path.abspath(__file__))

def note(text):
    file = os.open(os.path.join(HERE, "ran.txt"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{text}\\n".encode())
    os.close(file)

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    note(f"start {cfg.x}")
    fates = os.path.join(HERE, "fates.json")
    way = json.load(open(fates)).get(str(cfg.x)) if os.path.exists(fates) else None
    if way == "raise": raise RuntimeError("drawn")
    if way == "exit": sys.exit(7)
    if way == "leave": os._exit(9)
    if way == "kill": os.kill(os.getpid(), signal.SIGKILL)
    if way == "segv": os.kill(os.getpid(), signal.SIGSEGV)
    note(f"end {cfg.x}")
    return cfg.x * 2

if __name__ == "__main__":
    main()
"""


def draw_fates(seed: int, jobs: int) -> dict[int, str]:
    """Draw which jobs die: one in a hundred, but of each way at least one."""
    draw = random.Random(seed)
    dying = draw.sample(range(jobs), max(len(WAYS), jobs // 100))
    return {x: list(WAYS)[number % len(WAYS)] for number, x in enumerate(dying)}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_crashed_jobs_of_a_big_sweep_are_the_ones_that_run_again(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(SOURCE)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("x: 0\n")
    fates = draw_fates(FIRST, JOBS)
    (tmp_path / "fates.json").write_text(json.dumps(fates))
    app, sweep = App(tmp_path), (f"x=range(0,{JOBS})", "hydra.launcher.slots=2")
    print(f"seed {FIRST}, {JOBS} jobs, fates {fates}")
    try:
        first = app.start(*sweep)
        output, _ = first.communicate(timeout=600)
        assert first.returncode == 1
        assert f"{JOBS} jobs: {JOBS - len(fates)} done, {len(fates)} failed" in output
        for x in range(JOBS):
            status = app.yaml(f"{x}/status.yaml")
            known = WAYS[fates[x]] if x in fates else ("done", None)
            assert (status["state"], status.get("reason")) == known
        (tmp_path / "fates.json").unlink()
        earlier = Counter(app.ran())
        again = app.start(*sweep)
        output, _ = again.communicate(timeout=600)
        assert again.returncode == 0, output
        assert f"{JOBS} jobs: {len(fates)} done, {JOBS - len(fates)} skipped" in output
        assert Counter(app.ran()) - earlier == {f"{word} {x}": 1 for x in fates for word in ("start", "end")}
        assert [app.yaml(f"{x}/result.yaml")["value"] for x in range(JOBS)] == [2 * x for x in range(JOBS)]
        assert not app.processes()
    finally:
        app.end()


def test_fates_are_one_in_a_hundred_and_of_every_way() -> None:
    fates = draw_fates(1, 1000)
    assert len(fates) == 10
    assert set(fates.values()) == set(WAYS)
