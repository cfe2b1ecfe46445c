"""What somebody has put into a run dir before its run begins: no link is written through, and no pipe is waited for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FILES = (
    *("status.yaml", "run.yaml", "changelog.yaml", "events.jsonl", "metrics.jsonl", "progress.yaml", "result.yaml"),
    *("job.log", "run.lock", "session.lock"),
)
SECRET = "of the victim\n"
# Trains in each of the directories given; says what became of it.
TRAINING = """
import json, os, signal, sys, traceback
from pathlib import Path
from omegaconf import OmegaConf
import trainctl
from trainctl.attempt import attempt as attempts
from trainctl.attempt.output import Tee
from trainctl.errors import TrainctlError
from trainctl.rundir.paths import RunDir

for place in sys.argv[1:]:
    signal.alarm(60)
    said = "done"
    try:
        live = trainctl.live(OmegaConf.create({"lr": 0.1}), run_dir=place)
        try:
            Tee(RunDir.at(place).log).close()
        except OSError as error:
            said = str(error)
        for step in live.track(range(3)):
            live.log(loss=1.0 / (step + 1))
        live.done(0.5)
    except TrainctlError as error:
        said = str(error)
    except BaseException:
        said = traceback.format_exc()
    finally:
        if (attempt := attempts.current()) is not None:
            attempt.end("done")
    print(json.dumps([place, said]), flush=True)
"""


@pytest.mark.parametrize("fault", ["link", "nowhere", "fifo"])
def test_run_writes_through_no_link_and_waits_for_no_pipe(tmp_path: Path, fault: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text(SECRET)
    places = []
    for name in FILES:
        place = tmp_path / name.replace(".", "-")
        (place / "inbox").mkdir(parents=True)
        places.append(str(place))
        if fault == "fifo":
            os.mkfifo(place / name)
        else:
            (place / name).symlink_to(victim if fault == "link" else tmp_path / "made")
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, *places], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = dict(json.loads(line) for line in done.stdout.splitlines())
    assert list(said) == places
    assert victim.read_text() == SECRET
    assert not (tmp_path / "made").exists()
    for name, answer in zip(FILES, said.values(), strict=True):
        assert "Traceback" not in answer, answer
        assert "\n" not in answer, answer
        if name in ("events.jsonl", "metrics.jsonl", "changelog.yaml", "job.log", "run.lock"):
            why = "not a regular file" if fault == "fifo" else "it is a link, which is not followed"
            also = "Too many levels of symbolic links" if name == "run.lock" else why
            assert answer == "done" if (name, fault) == ("run.lock", "fifo") else why in answer or also in answer, name
        else:
            assert answer == "done", name  # replaced
