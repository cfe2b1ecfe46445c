"""The server's process, and where Linux groups by session its session, come after the training."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainctl.config.settings import PanelSettings
from trainctl.panel.server import handle as process
from trainctl.panel.server import lifetime

GROUPS = Path("/proc/self/autogroup")


def test_server_steps_back_behind_training(tmp_path: Path) -> None:
    from waiting import wait_until

    handle = process.ensure(tmp_path, PanelSettings(keep_min=0))
    assert handle is not None
    try:
        record = process.find(tmp_path)
        assert record is not None
        wait_until(lambda: os.getpriority(os.PRIO_PROCESS, record.pid) >= lifetime.NICENESS)
    finally:
        handle.close()


@pytest.mark.skipif(not GROUPS.exists(), reason="this kernel does not group processes by session")
def test_session_steps_back_too() -> None:
    code = "from trainctl.panel.server.lifetime import step_back_as_session as go; go(); print(open(GROUPS).read())"
    code = code.replace("GROUPS", repr(str(GROUPS)))
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, start_new_session=True, capture_output=True, text=True, check=True, timeout=60)
    assert int(said.stdout.split()[-1]) == lifetime.OF_SESSION


def test_stepping_back_never_goes_up() -> None:
    code = (
        "import os; from trainctl.panel.server.lifetime import step_back; os.nice(19); step_back(); print(os.nice(0))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.split() == ["19"]
