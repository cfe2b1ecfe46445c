from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_trace_of_an_edit_names_the_files_that_see_it() -> None:
    script = Path(__file__).parents[1] / "trace_edit.py"
    shown = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout.splitlines()
    assert {"rundir/request.py", "session/apply.py", "session/changelog_file.py"} <= {
        line.partition(":")[0] for line in shown
    }
    assert shown[-1].startswith(f"{len(shown) - 1} files, ")
