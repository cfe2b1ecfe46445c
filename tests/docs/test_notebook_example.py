"""The cells of the example notebook run in their order."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import state_of

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "notebook_digits.ipynb"


@pytest.mark.slow
def test_cells_train_show_and_compare_a_run(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    code += "\nassert table.loc['notebook', 'result'] > 0.85, table\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert state_of(RunDir.at(tmp_path / "outputs" / "notebook")) == "done"
    assert all(not cell.get("outputs") for cell in cells)  # no output of one machine is kept
